"""The ladder from a model's words to verdicts: what is read, what is not, and that nothing is invented."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique.parsing import MAX_LENGTH, is_refusal, parse_choice, parse_contents, parse_verdicts
from lvlm_va.critique.types import VERDICTS

ONE = '{"segments":[{"id":1,"verdict":"spurious"}]}'
CASES = {
    "ok": (ONE, "spurious", "unsure", "json", (2,)),
    "fence": (f"Here it is:\n```json\n{ONE}\n```\nI hope so.", "spurious", "unsure", "json", (2,)),
    "think": (f"<think>Segment 1: relevant\n</think>{ONE}", "spurious", "unsure", "json", (2,)),
    "open think": (f"<think>so {ONE}", "unsure", "unsure", "none", (1, 2)),
    "half a think": (
        f"Segment 1, I think, is relevant.\n</think>\n{ONE}",
        "spurious",
        "unsure",
        "json",
        (2,),
    ),
    "a tag read aloud": (f"Segment 1: relevant\n</think>\n{ONE}", "unsure", "unsure", "json", (2,)),
    "a block read aloud": (
        f"So: <think>\nSegment 1: relevant\n</think>{ONE}",
        "unsure",
        "unsure",
        "json",
        (2,),
    ),
    "truncated": (ONE[:-2] + ',{"id":2,"verdict":"rel', "unsure", "unsure", "none", (1, 2)),
    "trailing comma": (ONE.replace("}]", ",},]"), "unsure", "unsure", "none", (1, 2)),
    "single quotes": (ONE.replace('"', "'"), "unsure", "unsure", "none", (1, 2)),
    "refusal": ("I'm sorry, I can't help with medical images.", "unsure", "unsure", "none", (1, 2)),
    "negation": ("Segment 1 is not spurious.", "unsure", "unsure", "none", (1, 2)),
    "missing id": (ONE.replace("1", "2"), "unsure", "spurious", "json", (1,)),
    "contradiction": (
        '{"segments":[{"id":1,"verdict":"spurious"},{"id":1,"verdict":"relevant"}]}',
        "unsure",
        "unsure",
        "json",
        (2,),
    ),
    "empty": ("", "unsure", "unsure", "none", (1, 2)),
    "lines": ("Segment 1: SPURIOUS\n**Segment 2:** relevant.", "spurious", "relevant", "line", ()),
    "injection": (
        'Sure. {"segments":[{"id":99,"verdict":"relevant"},{"id":1,"verdict":"maybe"}]}',
        "unsure",
        "unsure",
        "json",
        (1, 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ladder(case):
    text, one, two, status, missing = CASES[case]
    found = parse_verdicts(text, [1, 2])
    assert (found.verdicts, found.status, found.missing) == ({1: one, 2: two}, status, missing)


@pytest.mark.parametrize(
    "line",
    [
        "Segment 1: spurious", "- segment 1: Spurious.", "* **Segment 1**: spurious", "3. Segment #1 - spurious",
        "  ### Segment 1: **spurious**", "Segment 1 = `spurious`", "segment 1 \u2014 \"spurious\"",
        "Segment 1: spurious\r",
    ],
)  # fmt: skip
def test_lines_that_state_a_verdict(line):
    assert parse_verdicts(f"Some prose.\n{line}\nMore.", [1]).verdicts == {1: "spurious"}


@pytest.mark.parametrize(
    "line",
    [
        "Segment 1: not spurious", "Segment 1: spurious?", "Segment 1: spurious or relevant", "Segment 1: spuriously",
        "~~Segment 1: spurious~~", "> Segment 1: spurious", "| Segment 1: spurious", "Segment 1 != spurious",
        "Segment 1: ¬spurious", "No segment 1: spurious", "Segment 11: spurious", "Segment 1: spurious. Or relevant.",
        "Segment 1\n: spurious", "Segment 1: \u017fpurious", "Segment 1: spurious\uff1f", "Segment 1 \uff01= spurious",
        "Segment 1: \u202espurious", "\u2066Segment 1: spurious", "Say <answer>Segment 1: spurious</answer>",
        "Segment 1: spurious" + " " * 300, "Segment \u0661: spurious",
        '{"segments":[{"id":true,"verdict":"spurious"}]}', '{"segments":[{"id":1,"verdict":["spurious"]}]}',
        '{"segments":[{"id":1,"verdict":"spurious","verdict":"relevant"}]}', '{"id":1,"verdict":"spurious"}',
        '| {"segments":[{"id":1,"verdict":"spurious"}]}', '{"segments":{"id":1,"verdict":"spurious"}}',
    ],
)  # fmt: skip
def test_what_is_no_verdict(line):
    assert parse_verdicts(f"Some prose.\n{line}\nMore.", [1]).verdicts == {1: "unsure"}


@pytest.mark.parametrize(
    "text",
    [
        "Segment 1\uff1a spurious\nSegment 2\uff1arelevant\u3002",
        "\ufeffSegment 1: spurious\u200b\nSegment 2: relevant",
        "Segment 1: \u201cspurious\u201d\nSegment 2: \u2018relevant\u2019",
        "Segment \uff11: spurious\nSegment 2: \u300crelevant\u300d",
        "Segment 1: spurious\nSegment 2: relevant<|im_end|>",
        "<answer>Segment 1: spurious\nSegment 2: relevant</answer>",
        "<s>Segment 1: spurious</s>\nSegment 2: relevant<end_of_turn>\n",
        "Segment 1: <|begin_of_box|>spurious<|end_of_box|>\nSegment 2: <|begin_of_box|>relevant<|end_of_box|>",
        '<|begin_of_box|>{"segments":[{"id":1,"verdict":"spurious"},{"id":2,"verdict":"relevant"}]}<|end_of_box|>',
    ],
)  # fmt: skip
def test_signs_around_a_verdict(text):
    assert parse_verdicts(text, [1, 2]).verdicts == {1: "spurious", 2: "relevant"}
    contents = text.replace("spurious", "artefact").replace("relevant", "object").replace("verdict", "answer")
    assert parse_contents(contents, [1, 2]).contents == {1: "artefact", 2: "object"}


@pytest.mark.parametrize(
    "line",
    [
        "> | {}", ">> {}", "- | {}", "* > {}", "1. | {}", "**| {}", "The class is | ill {}", "\uff5c {}", "  > {}",
        "2) \"| {}\"",
    ],
)  # fmt: skip
@pytest.mark.parametrize("said", [ONE, "Segment 1: spurious"])
def test_a_quotation_is_no_verdict_of_the_models_own(line, said):
    assert parse_verdicts(f"So:\n{line.replace('{}', said)}\nWho knows.", [1]).verdicts == {1: "unsure"}
    assert parse_verdicts(f"{line.replace('{}', said)}\nSegment 1: relevant", [1]).verdicts == {1: "relevant"}


@pytest.mark.parametrize(
    "text",
    [
        '{"segments":[{"id":1,<think>"verdict":"relevant"},{"id":2,</think>"verdict":"spurious"}]}',
        '{"segments":[{"id":1,"covers":"a<think>b","verdict":"x"},{"id":2,"covers":"c</think>d","verdict":"spurious"}]}',
        "Segment 1: <think>not </think>spurious", "Segment <think>2: relevant\nSegment </think>1: spurious",
    ],
)  # fmt: skip
def test_what_stands_around_thoughts_is_not_stitched_together(text):
    assert parse_verdicts(text, [1, 2]).verdicts[1] == "unsure"


def test_different_verdicts_in_one_text_contradict():
    found = parse_verdicts(f"{ONE}\nSegment 1: relevant\nSegment 2: relevant\nSegment 2: relevant", [1, 2])
    assert found.verdicts == {1: "unsure", 2: "relevant"}
    assert [found.status_of(segment) for segment in (1, 2)] == ["contradiction", "json"]


def test_the_last_line_of_a_cut_off_answer_may_have_gone_on():
    text = "Segment 1: relevant\nSegment 2: spurious"
    assert parse_verdicts(text, [1, 2], cut_off=True).verdicts == {1: "relevant", 2: "unsure"}
    assert parse_verdicts(text + " if", [1, 2], cut_off=True).verdicts == {1: "relevant", 2: "unsure"}


def test_choices_and_refusals():
    assert [parse_choice(text) for text in ("Relevant.", "**unsure**", "irrelevant", "", "x" * 10**6)] == [
        "relevant", "unsure", None, None, None,
    ]  # fmt: skip
    assert is_refusal("I\u2019m sorry, but I can\u2019t help with that.")
    assert not is_refusal("Segment 1 covers the bone.")


# Hostile texts: size, depth, numbers.


@pytest.mark.parametrize(
    "text",
    [
        "{" * MAX_LENGTH, '{"a":' * (MAX_LENGTH // 5), '{"a":[' * (MAX_LENGTH // 6), "<think>" * (MAX_LENGTH // 7),
        '{"segments":[{"id":' + "9" * 9999 + ',"verdict":"spurious"}]}', "Segment 1" + ":" * (MAX_LENGTH - 9),
        "segment " * (MAX_LENGTH // 8), "\ud83d", "Segment 1: spurious\n" + "x" * MAX_LENGTH, "|" * MAX_LENGTH,
        '{"k":"' * (MAX_LENGTH // 6), "[" * MAX_LENGTH, " " * MAX_LENGTH, "- " * (MAX_LENGTH // 2),
        ("|" + ONE) * (MAX_LENGTH // 50), "<|channel|>" * (MAX_LENGTH // 11), "<think " * (MAX_LENGTH // 7),
    ],
)  # fmt: skip
def test_hostile_texts_are_read_as_nothing(text):
    assert parse_verdicts(text, [1]).verdicts == {1: "unsure"}


# Fuzz: never an exception, never a verdict that the text does not state.

PIECES = st.one_of(
    st.sampled_from(
        [
            "Segment", "segment 1", "Segment 2:", ": ", " - ", "spurious", "relevant", "unsure", "not ", "\n", "**",
            ".",
            '{"segments":[', '{"id":1,"verdict":"', '{"id":"2", "verdict": "', '"}', "]}", ",", "<think>", "</think>",
            "| ", "```json\n", "\u2028", "\r", "?", "SPURIOUS", ONE, "Segment 1: spurious\n", "\nSegment 2: relevant\n",
        ]
    ),
    st.text(max_size=4),
)  # fmt: skip


def _is_stated(text, segment, verdict):
    """Whether a line, or an entry of an object, says so, by a looser reading than the parser's."""
    in_line = any(
        re.sub(r"[\W_]+", " ", line).strip().lower().endswith(f"segment {segment} {verdict}")
        for line in text.splitlines()
    )
    entry = rf'"id"\s*:\s*"?\s*{segment}\s*"?\s*,\s*"verdict"\s*:\s*"\s*{verdict}\s*"'
    return in_line or re.search(entry, text, re.IGNORECASE) is not None


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join), st.booleans())
def test_no_verdict_is_invented(text, cut_off):
    found = parse_verdicts(text, [1, 2], cut_off=cut_off)
    assert set(found.verdicts) == {1, 2}
    for segment, verdict in found.verdicts.items():
        assert verdict in VERDICTS
        assert verdict == "unsure" or _is_stated(text, segment, verdict)
        assert (segment in found.missing) <= (verdict == "unsure")


@given(
    st.dictionaries(st.integers(1, 9), st.sampled_from(VERDICTS), min_size=1),
    st.text(max_size=40).map(lambda text: re.sub(r"[{}|<>]", "", text)),
)
def test_every_stated_verdict_is_read(verdicts, prose):
    entries = [{"id": segment, "verdict": verdict} for segment, verdict in verdicts.items()]
    lines = "\n".join(f"Segment {segment}: {verdict}" for segment, verdict in verdicts.items())
    for text in (json.dumps({"segments": entries}), lines):
        found = parse_verdicts(f"{prose}\n{text}\n", list(verdicts))
        assert found.verdicts == verdicts
        assert not found.missing

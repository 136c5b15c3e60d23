"""Bad answers among good ones, over HTTP: the right status for each item, and the others unharmed."""

import pytest

from lvlm_va.backends import OpenAIBackend, ScriptedBackend, wrap_backend
from lvlm_va.critique import LLMJudge, LVLMCritic, ParserJudge, RegionRenderer, judge_critiques
from tests.critique.making import corner_and_centre
from tests.serving import Answer, FaultServer

GOOD = Answer("Segment 1 covers the tag.\nSegment 1: spurious\nSegment 2: relevant")
READ = [("spurious", "line"), ("relevant", "line")]
# What the server says -> (verdict, status) of both segments.
ROWS = {
    "wrong segment ids": (Answer("Segment 3: spurious\nSegment 99: relevant"), [("unsure", "missing")] * 2),
    "one wrong id": (Answer("Segment 2: relevant\nSegment 3: spurious"), [("unsure", "missing"), READ[1]]),
    "contradictory verdicts": (
        Answer("Segment 1: spurious\nSegment 1: relevant\nSegment 2: relevant"),
        [("unsure", "contradiction"), READ[1]],
    ),
    "contradiction between JSON and line": (
        Answer('{"segments":[{"id":1,"verdict":"relevant"},{"id":2,"verdict":"relevant"}]}\nSegment 1: spurious'),
        [("unsure", "contradiction"), ("relevant", "json")],
    ),
    "refusal": (Answer("I cannot help with this.", finish="refusal"), [("unsure", "refused")] * 2),
    "refusal in words": (Answer("I'm sorry, I can't look at medical images."), [("unsure", "refused")] * 2),
    "refusal that states verdicts": (Answer(GOOD.text, finish="refusal"), [("unsure", "refused")] * 2),
    "empty": (Answer(""), [("unsure", "none")] * 2),
    "empty, tokens ran out": (Answer("", finish="length"), [("unsure", "truncated")] * 2),
    "cut off": (
        Answer("Segment 1: spurious\nSegment 2: relevant", finish="length"),
        [READ[0], ("unsure", "truncated")],
    ),
    "truncated JSON of verdicts": (
        Answer('{"segments":[{"id":1,"verdict":"spurious"},{"id":2,"verdict":"rel'),
        [("unsure", "none")] * 2,
    ),
    "unknown verdict": (Answer("Segment 1: irrelevant\nSegment 2: maybe"), [("unsure", "none")] * 2),
    "server error": (Answer("Segment 1: spurious", status=500), [("unsure", "failed")] * 2),
    "bad request": (Answer("Segment 1: spurious", status=400), [("unsure", "failed")] * 2),
    "HTML": (Answer(body=b"<html>Segment 1: spurious</html>"), [("unsure", "failed")] * 2),
}  # fmt: skip
REQUESTS = [corner_and_centre(index=i, label=f"image {i}.") for i in range(3)]


def seen(critiques, judge):
    judged = judge_critiques(judge, critiques, [2] * len(critiques))
    return [[(v.verdict, v.status) for v in critique.verdicts] for critique in judged]


@pytest.mark.parametrize("row", ROWS)
def test_a_critics_bad_answer_harms_no_other_image(row):
    answer, found = ROWS[row]
    with FaultServer(lambda asked: answer if "image 1." in asked.text else GOOD) as server:
        critic = LVLMCritic(OpenAIBackend("any", base_url=server.url), renderer=RegionRenderer(size=64))
        critiques = critic.critique(REQUESTS)
    assert [critique.answered for critique in critiques] == [True, found[0][1] != "failed", True]
    assert seen(critiques, ParserJudge()) == [READ, found, READ]


@pytest.mark.parametrize("row", ROWS)
def test_a_judges_bad_answer_harms_no_other_segment(row):
    answer, found = ROWS[row]
    critiques = LVLMCritic(
        ScriptedBackend(lambda request: "It covers the tag."), renderer=RegionRenderer(size=64)
    ).critique(REQUESTS)

    def say(asked):
        return GOOD if "verdict on segment 2" in asked.text else answer

    with FaultServer(say) as server:
        backend = wrap_backend(OpenAIBackend("any", base_url=server.url), attempts=1)
        verdicts = seen(critiques, LLMJudge(backend))
    assert verdicts == [[found[0], READ[1]]] * 3

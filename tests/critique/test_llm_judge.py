"""The judge that asks a model: examples, votes, probabilities, repairs, abstention."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from lvlm_va.backends import Capabilities, ChatFailure, ChatReply
from lvlm_va.critique import (
    Critique,
    JudgeExample,
    LLMJudge,
    ModelStoppedError,
    ParserJudge,
    Statement,
    judge_critiques,
)
from lvlm_va.critique.calibration import choose_threshold
from tests.critique.scripted import Scripted, last_question, text_of

EXAMPLES = tuple(
    JudgeExample(f"Example {i}: segment 3 covers {what}.", verdict, note=f"Because of {what}.")
    for i, (what, verdict) in enumerate(
        [("a tag", "spurious"), ("a ruler", "spurious"), ("ink", "spurious"), ("a plaster", "spurious"),
         ("bone", "relevant"), ("the joint", "relevant"), ("a blur", "unsure")]
    )
)  # fmt: skip
TAG = Critique("7", "Segment 1 covers the tag. Segment 2 covers the bone.")


def judge(answer, **options):
    return LLMJudge(answer if isinstance(answer, Scripted) else Scripted(answer), **options)


def by_words(request, i):
    """Say of the segment asked about what its word in the critique suggests."""
    number = re.search(r"verdict on segment (\d+)", last_question(request))[1]
    return f"It is clear.\nSegment {number}: {'spurious' if number == '1' else 'relevant'}"


def found(verdicts):
    return [(v.verdict, v.status) for v in verdicts]


def test_each_segment_is_asked_about_with_the_reason_first():
    backend = Scripted(by_words)
    (verdicts,) = judge(backend).judge([TAG], [2])
    assert found(verdicts) == [("spurious", "line"), ("relevant", "line")]
    assert verdicts[0].reason.startswith("It is clear.")
    assert verdicts[0].source == "scripted"
    assert verdicts[0].p_spurious is None
    question = last_question(backend.asked[0])
    assert "<critique>\n| Segment 1 covers the tag." in question
    assert question.index("your reason") < question.index("WORD")


def test_examples_are_balanced_shuffled_and_fixed_by_the_critique():
    backend = Scripted(by_words)
    judge(backend, examples=EXAMPLES, n_shots=5).judge([TAG], [2])
    judge(backend, examples=EXAMPLES, n_shots=5).judge([TAG], [2])
    shots = [
        [turn.parts[0] for turn in request.turns if turn.role == "assistant"] for request in backend.asked
    ]
    assert shots[:2] == shots[2:]
    assert shots[0] != shots[1]
    counts = {
        verdict: sum(f": {verdict}" in shot for shot in shots[0])
        for verdict in ("spurious", "relevant", "unsure")
    }
    assert counts == {"spurious": 2, "relevant": 2, "unsure": 1}
    assert all(shot.startswith("Because of ") and "\nSegment 3: " in shot for shot in shots[0])


def test_no_example_is_shown_for_its_own_critique():
    backend = Scripted(by_words)
    judge(backend, examples=EXAMPLES, n_shots=9).judge([Critique("7", f"So: {EXAMPLES[0].critique}")], [1])
    assert "Example 0" not in text_of(backend.asked[0]).replace(last_question(backend.asked[0]), "")
    assert sum(turn.role == "assistant" for turn in backend.asked[0].turns) == 6


def test_votes_see_other_examples_and_are_counted():
    said = ["Segment 1: spurious", "Segment 1: relevant", "Segment 1: spurious", "Segment 1: unsure"]
    backend = Scripted(lambda request, i: said[i])
    ((verdict,),) = judge(backend, examples=EXAMPLES, votes=4).judge([TAG], [1])
    assert (verdict.verdict, verdict.p_spurious) == ("spurious", 0.625)
    assert [request.sample for request in backend.asked] == [0, 1, 2, 3]
    assert len({text_of(request) for request in backend.asked}) == 4
    backend.asked.clear()
    ((verdict,),) = judge(backend, votes=4, threshold=0.7).judge([TAG], [1])
    assert (verdict.verdict, verdict.p_spurious) == ("unsure", 0.625)


def test_probabilities_are_used_where_the_model_knows_them():
    probs = {"spurious": 0.7, "relevant": 0.1, "unsure": 0.2}
    backend = Scripted(
        lambda request, i: ChatReply("spurious", "m", choice_probs=probs), Capabilities(choice_probs=True)
    )
    ((verdict,),) = judge(backend, examples=EXAMPLES).judge([TAG], [1])
    assert found([verdict]) == [("spurious", "choice")]
    assert verdict.p_spurious == pytest.approx(0.8)
    assert backend.asked[0].want_choice_probs
    assert {turn.parts[0] for turn in backend.asked[0].turns if turn.role == "assistant"} <= set(probs)


@pytest.mark.parametrize("probs", [{"spurious": 1.0}, {"spurious": math.nan, "relevant": 0, "unsure": 0},
                                   {"spurious": 2, "relevant": -1, "unsure": 0}])  # fmt: skip
def test_impossible_probabilities_are_not_believed(probs):
    backend = Scripted(
        lambda request, i: ChatReply("relevant", "m", choice_probs=probs), Capabilities(choice_probs=True)
    )
    assert found(judge(backend).judge([TAG], [1])[0]) == [("relevant", "choice")]


def test_an_answer_without_a_verdict_is_asked_for_once_more():
    said = ["The tag.", "Segment 1: spurious"]
    backend = Scripted(lambda request, i: said[i])
    ((verdict,),) = judge(backend).judge([TAG], [1])
    assert found([verdict]) == [("spurious", "repaired")]
    assert verdict.reason == "The tag."
    assert [turn.role for turn in backend.asked[1].turns][-2:] == ["assistant", "user"]
    backend = Scripted("The tag.")
    assert found(judge(backend).judge([TAG], [1])[0]) == [("unsure", "none")]
    assert len(backend.asked) == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (ChatReply("Segment 1: spurious", "m", "refusal"), "refused"),
        ("I'm sorry, I cannot do that.", "refused"),
        (ChatReply("", "m", "length"), "truncated"),
        ("Segment 1: spurious\nSegment 1: relevant", "contradiction"),
        ("Segment 99: spurious", "missing"),
    ],
)
def test_answers_that_are_none(answer, status):
    assert found(judge(answer).judge([TAG], [1])[0]) == [("unsure", status)]


def test_silence_of_the_critic_is_not_judged():
    backend = Scripted("Segment 1: spurious")
    said = (Statement((1,), "server: Segment 1: spurious", "failed"), Statement((2,), "No.", "refused"))
    critiques = [Critique("a", "", statements=said), Critique("b", "")]
    first, second = judge(backend).judge(critiques, [3, 1])
    assert found(first) == [("unsure", "failed"), ("unsure", "refused"), ("unsure", "missing")]
    assert found(second) == [("unsure", "none")]
    assert backend.asked == []


def test_statements_are_judged_on_their_own_segments():
    backend = Scripted(by_words)
    said = (Statement((1,), "It covers the tag."), Statement((2,), "It covers the bone."))
    (verdicts,) = judge(backend).judge([Critique("7", "", statements=said)], [2])
    assert [v.verdict for v in verdicts] == ["spurious", "relevant"]
    assert ["tag" in last_question(request) for request in backend.asked] == [True, False]


def test_nothing_is_judged_twice_and_a_stop_keeps_what_was_judged(tmp_path):
    path = tmp_path / "judged.jsonl"
    critiques = [Critique(str(i), TAG.text) for i in range(4)]
    stopping = judge(lambda request, i: by_words(request, i) if i < 3 else ChatFailure("quota", "no more"))
    with pytest.raises(ModelStoppedError, match="quota"):
        judge_critiques(stopping, critiques, [1] * 4, path=path, chunk_size=2)
    backend = Scripted(by_words)
    judged = judge_critiques(judge(backend), critiques, [1] * 4, path=path)
    assert len(backend.asked) == 1
    assert [c.verdicts[0].verdict for c in judged] == ["spurious"] * 4
    assert judge_critiques(judge(Scripted("")), judged, [1] * 4) == judged


def test_a_vote_without_an_answer_is_asked_for_again(tmp_path):
    path = tmp_path / "judged.jsonl"
    critiques = [Critique("a", TAG.text), Critique("b", "Other.")]

    def answer(request, i):
        return ChatFailure("timeout", "too slow") if i == 1 else by_words(request, i)

    first, second = judge_critiques(judge(answer, votes=3), critiques, [1, 1], path=path)
    assert found(first.verdicts + second.verdicts) == [("unsure", "failed"), ("spurious", "line")]
    assert first.verdicts[0].reason == "timeout: too slow"
    backend = Scripted(by_words)
    judged = judge_critiques(judge(backend, votes=3), critiques, [1, 1], path=path)
    assert [c.verdicts[0].p_spurious for c in judged] == [1, 1]
    assert len(backend.asked) == 3


@pytest.mark.parametrize("reader", [judge(by_words), ParserJudge()])
def test_a_critics_vote_without_an_answer_leaves_the_segment_undecided(reader):
    said = (Statement((1,), "Segment 1: spurious"), Statement((1, 2), "timeout: too slow", "failed"))
    (judged,) = judge_critiques(reader, [Critique("7", "", statements=said)], [2])
    assert found(judged.verdicts) == [("unsure", "failed")] * 2


@pytest.mark.parametrize("first", ["Hard to say.", "Segment 99: spurious"])
def test_a_second_question_that_fails_is_asked_again_next_time(tmp_path, first):
    path = tmp_path / "judged.jsonl"

    def failing(kind):
        return judge(
            lambda request, i: ChatFailure(kind, "no") if "Now write" in last_question(request) else first
        )

    (judged,) = judge_critiques(failing("timeout"), [TAG], [1], path=path)
    assert found(judged.verdicts) == [("unsure", "failed")]
    with pytest.raises(ModelStoppedError, match="quota"):
        judge_critiques(failing("quota"), [TAG], [1], path=path)
    said = [first, "Segment 1: spurious"]
    (judged,) = judge_critiques(judge(lambda request, i: said[i]), [TAG], [1], path=path)
    assert found(judged.verdicts) == [("spurious", "repaired")]


def test_other_examples_are_another_judge():
    prints = {
        json.dumps(judge("", **options).fingerprint())
        for options in (
            {},
            {"examples": EXAMPLES},
            {"examples": EXAMPLES[:2]},
            {"votes": 3},
            {"threshold": 0.9},
        )
    }
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": ["a tag"]}, "'examples' argument must hold JudgeExample objects. Got 'a tag'"),
        ({"n_shots": -1}, "'n_shots'"),
        ({"votes": 0}, "'votes'"),
        ({"threshold": -1}, "'threshold'"),
        ({"prompt": "?"}, "'prompt' argument must be a JudgePrompt"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        judge("", **options)


# Calibration.


def labelled(n, rng):
    """Critiques whose judge says what is right with the probability that it claims."""
    critiques = [Critique(str(i), f"Critique {i}: {p:.3f}") for i, p in enumerate(rng.uniform(0.5, 1, n))]
    truth = ["spurious" if rng.random() < float(c.text[-5:]) else "relevant" for c in critiques]
    return [(critique, {1: verdict}) for critique, verdict in zip(critiques, truth, strict=True)]


def test_calibration_finds_a_threshold_that_keeps_its_promise():
    def answer(request, i):
        p = float(re.search(r"Critique \d+: (\S+)", last_question(request))[1])
        return ChatReply("spurious", "m", choice_probs={"spurious": p, "relevant": 1 - p, "unsure": 0.0})

    sure = judge(Scripted(answer, Capabilities(choice_probs=True)))
    rng = np.random.default_rng(0)
    report = sure.calibrate(labelled(400, rng), target=0.85)
    assert 0.6 < report.threshold < 0.95
    assert report.n_labelled == 400
    fresh = labelled(2000, rng)
    verdicts = dataclasses.replace(sure, threshold=report.threshold).judge([c for c, _ in fresh], [1] * 2000)
    right = [
        v.verdict == truth[1]
        for (v,), (_, truth) in zip(verdicts, fresh, strict=True)
        if v.verdict != "unsure"
    ]
    assert np.mean(right) > 0.85
    assert len(right) / 2000 == pytest.approx(report.coverage, abs=0.08)


def test_too_few_labelled_ones_promise_nothing():
    report = choose_threshold([0.9] * 10, [True] * 10, target=0.9, risk=0.1)
    assert (report.threshold, report.coverage) == (math.inf, 0)
    assert math.isnan(report.accuracy)
    ((verdict,),) = judge("Segment 1: spurious", threshold=report.threshold).judge([TAG], [1])
    assert verdict.verdict == "unsure"


def test_the_promise_holds_over_many_draws():
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(300):
        confidence = rng.uniform(0.5, 1, 120)
        report = choose_threshold(confidence, rng.random(120) < confidence, target=0.8, risk=0.1)
        if report.threshold < math.inf:
            broken += (report.threshold + 1) / 2 < 0.8  # the true accuracy above the threshold
    assert broken <= 45  # 10 % expected; 15 % is 3 standard deviations away


@pytest.mark.parametrize("options", [{"target": 1.0, "risk": 0.1}, {"target": 0.9, "risk": 0}])
def test_impossible_targets(options):
    with pytest.raises(ValueError, match="must lie in .0, 1."):
        choose_threshold([], [], **options)

"""The critic around the model: what it asks, what it refuses to ask, and how it reads the answers."""

from __future__ import annotations

import numpy as np
import pytest

from lvlm_va.backends import ChatFailure, ChatReply, ImagePart
from lvlm_va.critique import ModelStoppedError, TinyCritic, VerdictPolicy, check_critiques, collect_critiques
from tests.backends.inner import Inner
from tests.critique.making import corner_and_centre, make_request, verdicts_of

COUNTS = "The digit counts. The patch in the corner doesn't matter"
SAID = "Segment covers the patch. Answer: artefact"


def says(answer):
    """Return a critic whose model always gives the same answer."""
    return TinyCritic(Inner(lambda request, before: answer))


def reply(text):
    return ChatReply(text, "inner")


def test_each_segment_is_asked_about_by_itself_with_label_and_description():
    critic = says(reply(SAID))
    requests = [
        corner_and_centre(description=COUNTS),
        make_request(np.zeros((28, 28)), index=1, description=COUNTS),
    ]
    check_critiques(requests, critiques := critic.critique(requests))
    assert verdicts_of(critiques) == [["spurious", "spurious"], []]
    assert critiques[0].verdicts[0].reason == SAID.removesuffix(" Answer: artefact")
    assert critiques[0].verdicts[0].content == "artefact"
    assert critiques[0].verdicts[0].source == "tiny"
    (asked,) = critic.backend.calls
    assert len(asked) == 2
    for request in asked:
        image, text = request.turns[0].parts
        assert isinstance(image, ImagePart)
        assert image.array.shape == (56, 56, 3)
        assert text == (
            "Class: 3. The digit counts. The patch in the corner does not matter. What is marked?"
        )
        assert request.temperature == 0


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("", "Nothing was said of what should count for class '3'."),
        (
            "The femur counts, the hospital tag and the femur do not.",
            "The description of class '3' has words that this critic was not taught: 'femur', 'hospital'.",
        ),
        ("The digit counts: 5 times?", "not taught: '5', 'times', '?'."),
        ("The digit counts. " * 31, "The description of class '3' is longer than 90 words."),
    ],
)
def test_a_description_that_it_cannot_read_is_unsure_and_says_why(description, reason):
    critic = says(reply(SAID))
    critiques = critic.critique([corner_and_centre(description=description)])
    assert verdicts_of(critiques) == [["unsure", "unsure"]]
    assert all(verdict.reason.endswith(reason) for verdict in critiques[0].verdicts)
    assert critic.backend.calls == []


def test_one_description_that_cannot_be_read_does_not_hold_up_the_others():
    requests = [
        corner_and_centre(index=i, description=text) for i, text in enumerate((COUNTS, "The femur.", COUNTS))
    ]
    assert verdicts_of(says(reply(SAID)).critique(requests)) == [
        ["spurious"] * 2,
        ["unsure"] * 2,
        ["spurious"] * 2,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer: artefact",
        f"{SAID} Answer: object",
        f"{SAID}\n{SAID}",
        SAID.replace("artefact", "Artefact"),
        SAID.replace("artefact", "spurious"),
        "Segment covers the \ufffd. Answer: artefac",
    ],
)
def test_a_reply_of_another_form_states_no_verdict(text):
    (critique,) = says(reply(text)).critique([corner_and_centre(description=COUNTS)])
    assert verdicts_of([critique]) == [["unsure", "unsure"]]
    assert critique.verdicts[0].reason.startswith("The reply states no answer")
    assert critique.verdicts[0].status == "none"


@pytest.mark.parametrize(
    ("content", "policy", "verdict"),
    [
        ("artefact", VerdictPolicy(), "spurious"),
        ("object", VerdictPolicy(), "relevant"),
        ("surroundings", VerdictPolicy(), "relevant"),
        ("surroundings", VerdictPolicy(surroundings="mask"), "spurious"),
        ("mixed", VerdictPolicy(), "unsure"),
        ("mixed", VerdictPolicy(mixed="mask"), "spurious"),
        ("unsure", VerdictPolicy(mixed="mask"), "unsure"),
    ],
)
def test_the_verdict_follows_from_what_the_segment_is_about_by_the_policy(content, policy, verdict):
    critic = TinyCritic(
        Inner(lambda request, before: reply(f"Segment covers it. Answer: {content}")), policy=policy
    )
    (critique,) = critic.critique([corner_and_centre(description=COUNTS)])
    assert {(said.content, said.verdict) for said in critique.verdicts} == {(content, verdict)}


def test_a_failure_of_one_request_is_unsure_and_says_why():
    def answer(request, before):
        in_corner = request.images[0].array[:8, :8, 1].min() > 0
        return ChatFailure("timeout", "no answer in 60 s") if in_corner else reply(SAID)

    (critique,) = TinyCritic(Inner(answer)).critique([corner_and_centre(description=COUNTS)])
    assert sorted(verdict.verdict for verdict in critique.verdicts) == ["spurious", "unsure"]
    (failed,) = [verdict for verdict in critique.verdicts if verdict.verdict == "unsure"]
    assert failed.reason == "No reply (timeout): no answer in 60 s"
    assert failed.status == "failed"
    assert not critique.answered


def test_stops_where_no_reply_will_come():
    stopped = Inner(lambda request, before: ChatFailure("quota", "the account is empty"))
    with pytest.raises(ModelStoppedError, match="the account is empty"):
        TinyCritic(stopped).critique([corner_and_centre(description=COUNTS)])


def test_what_was_finished_before_a_stop_is_kept(tmp_path):
    path = tmp_path / "critiques.jsonl"

    def critic(*answers):
        said = iter(answers)
        return TinyCritic(Inner(lambda request, before: next(said)))

    def make(positions):
        return [corner_and_centre(index=i, description=COUNTS) for i in positions]

    stop = ChatFailure("quota", "the account is empty")
    with pytest.raises(ModelStoppedError):
        collect_critiques(critic(*[reply(SAID)] * 3, stop), ["0", "1"], make, path=path)
    goes_on = critic(*[reply(SAID)] * 2)
    critiques = collect_critiques(goes_on, ["0", "1"], make, path=path)
    assert verdicts_of(critiques) == [["spurious"] * 2] * 2
    assert len(goes_on.backend.asked) == 2


def test_the_fingerprint_follows_the_backend():
    assert TinyCritic(Inner(mark="a")).fingerprint() != TinyCritic(Inner(mark="b")).fingerprint()


def test_the_fingerprint_follows_the_policy():
    masking = TinyCritic(Inner(), policy=VerdictPolicy(surroundings="mask"))
    assert masking.fingerprint() != TinyCritic(Inner()).fingerprint()


def test_a_folder_that_holds_no_tiny_critic_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="'folder' argument must be a folder that 'python -m tools.tiny_critic train'"
    ):
        TinyCritic(folder=tmp_path)

"""The critic that asks a model: what it sends, what it keeps, what it does when there is no answer."""

import copy
import json
import pickle

import numpy as np
import pytest

from lvlm_va.backends import Budget, Capabilities, ChatFailure, ChatReply, estimate, wrap_backend
from lvlm_va.critique import (
    CriticPrompt,
    LVLMCritic,
    ModelStoppedError,
    ParserJudge,
    RegionRenderer,
    VerdictPolicy,
    check_critiques,
    collect_critiques,
    judge_critiques,
)
from tests.critique.making import corner_and_centre, make_request
from tests.critique.scripted import Scripted, last_question, text_of, with_images

SMALL = RegionRenderer(size=64)
LINES = "It covers the tag.\nSegment 1: spurious\nSegment 2: relevant"
IDS = [str(i) for i in range(5)]


def critic(answer, **options):
    backend = answer if isinstance(answer, Scripted) else Scripted(answer)
    return LVLMCritic(backend, **{"renderer": SMALL, "prompt": CriticPrompt.six_steps()} | options)


def make(positions):
    return [corner_and_centre(index=i) for i in positions]


def verdicts(critiques, n=2):
    judged = judge_critiques(ParserJudge(), critiques, [n] * len(critiques))
    return [[(v.verdict, v.status) for v in c.verdicts] for c in judged]


def test_what_is_sent():
    backend = Scripted(LINES)
    request = corner_and_centre(label="ill", description="The bar counts.\nNever the tag.")
    (critique,) = critic(backend).critique([request])
    (sent,) = backend.asked
    assert critique.text == LINES
    assert [image.array.shape for image in sent.images] == [(64, 64, 3)] * 4
    assert sent.temperature == 0
    text = text_of(sent)
    assert "Image 1: the original image." in text
    assert "<class_description>\n| The bar counts.\n| Never the tag.\n</class_description>" in text
    assert "<class_label>\n| ill\n</class_label>" in text
    assert "Segment 1: 2 % of the image, top left" in text
    assert "segment 2 in orange" in text
    assert text.endswith("Segment 1: WORD\nSegment 2: WORD")
    assert verdicts([critique]) == [[("spurious", "line"), ("relevant", "line")]]


def test_what_is_sent_by_default():
    said = (
        "Image: a bar and a tag.\n"
        "Segment 1 | covers: the tag | answer: artefact\nSegment 2 | covers: a bar | answer: object"
    )
    backend = Scripted(said)
    (critique,) = LVLMCritic(backend).critique(
        [corner_and_centre(label="ill", description="The bar counts.")]
    )
    (sent,) = backend.asked
    assert [image.array.shape for image in sent.images] == [(448, 448, 3), (320, 584, 3)]
    text = text_of(sent)
    assert "Image 1: the original." in text
    assert "inside a thin magenta line" in text
    assert "each of the segments 1, 2 about?" in text
    assert "<class_description>\n| The bar counts.\n</class_description>" in text
    assert text.endswith("Segment 1 | covers: WHAT | answer: WORD")
    assert sent.schema is None
    (judged,) = judge_critiques(ParserJudge(), [critique], [2])
    assert [(v.verdict, v.content, v.reason, v.status) for v in judged.verdicts] == [
        ("spurious", "artefact", "the tag", "line"),
        ("relevant", "object", "a bar", "line"),
    ]


def test_a_question_is_short():
    backend = Scripted("")
    request = make_request(np.arange(8 * 8).reshape(8, 8) % 9)
    LVLMCritic(backend).critique([request])
    (sent,) = backend.asked
    assert len(sent.images) == 2
    assert max(max(image.array.shape) for image in sent.images) <= 1536
    assert (
        len(" ".join(part for turn in sent.turns for part in turn.parts if isinstance(part, str)).split())
        <= 450
    )


def test_a_model_that_can_be_held_to_a_schema_answers_in_json():
    said = json.dumps({"image": "a bar", "segments": [{"id": 1, "covers": "the tag", "answer": "artefact"}]})
    backend = Scripted(said, Capabilities(schema=True))
    (critique,) = LVLMCritic(backend).critique([corner_and_centre()])
    (sent,) = backend.asked
    entry = sent.schema["properties"]["segments"]["items"]["properties"]
    assert entry["id"]["enum"] == [1, 2]
    assert entry["answer"]["enum"] == ["artefact", "object", "surroundings", "mixed", "unsure"]
    assert "Answer with one JSON object and nothing else" in text_of(sent)
    assert verdicts([critique]) == [[("spurious", "json"), ("unsure", "missing")]]


@pytest.mark.parametrize(("policy", "expected"), [
    ({}, ["relevant", "unsure"]), ({"surroundings": "mask"}, ["spurious", "unsure"]),
    ({"mixed": "mask"}, ["relevant", "spurious"]), ({"mixed": "keep"}, ["relevant", "relevant"]),
])  # fmt: skip
def test_verdicts_follow_by_a_policy(policy, expected):
    said = (
        "Segment 1 | covers: skin | answer: surroundings\nSegment 2 | covers: a tag on bone | answer: mixed"
    )
    (critique,) = LVLMCritic(Scripted(said)).critique([corner_and_centre()])
    (judged,) = judge_critiques(ParserJudge(VerdictPolicy(**policy)), [critique], [2])
    assert [v.verdict for v in judged.verdicts] == expected
    assert [v.content for v in judged.verdicts] == ["surroundings", "mixed"]


def test_an_empty_description_says_so():
    backend = Scripted(LINES)
    critic(backend).critique([corner_and_centre()])
    assert "| Nothing was said." in text_of(backend.asked[0])


@pytest.mark.parametrize(("per_segment", "small_model", "n", "asked"), [
    ("auto", False, 8, 1), ("auto", False, 9, 9), ("auto", True, 2, 2), (True, False, 2, 2), (False, True, 6, 1),
])  # fmt: skip
def test_one_segment_at_a_time_where_that_is_better(per_segment, small_model, n, asked):
    backend = Scripted("Segment 1: spurious", Capabilities(per_segment=small_model))
    request = make_request(np.arange(8 * 8).reshape(8, 8) % (n + 1))
    (critique,) = critic(backend, per_segment=per_segment).critique([request])
    assert len(backend.asked) == len(critique.statements) == asked
    assert sorted(k for said in critique.statements for k in said.segments) == list(range(1, n + 1))


def test_all_images_of_a_call_go_out_together():
    calls = []

    class Batch(Scripted):
        def complete(self, requests):
            calls.append(len(requests))
            return super().complete(requests)

    requests = [corner_and_centre(index=i) for i in range(3)] + [make_request(np.zeros((4, 4)), index=3)]
    critiques = critic(Batch(LINES), votes=2).critique(requests)
    check_critiques(requests, critiques)
    assert calls == [6]
    assert critiques[3].statements == ()


def test_votes_differ_in_what_does_not_matter():
    backend = Scripted(LINES)
    critic(backend, votes=2).critique([corner_and_centre()])
    first, second = backend.asked
    assert (first.sample, second.sample) == (0, 1)
    assert "segment 1 in magenta" in text_of(first)
    assert "segment 1 in orange" in text_of(second)
    assert text_of(second).endswith("Segment 2: WORD\nSegment 1: WORD")
    assert not (first.images[2].array == second.images[2].array).all()


def test_votes_are_counted():
    said = ["Segment 1: spurious", "Segment 1: spurious", "Segment 1: relevant"]
    (critique,) = critic(lambda request, i: said[i], votes=3).critique([corner_and_centre()])
    (judged,) = judge_critiques(ParserJudge(), [critique], [2])
    assert [(v.verdict, v.p_spurious) for v in judged.verdicts] == [("spurious", 2 / 3), ("unsure", 0.5)]


def test_no_more_images_than_the_model_takes():
    backend = Scripted(LINES, with_images(2))
    critic(backend).critique([corner_and_centre()])
    assert len(backend.asked[0].images) == 2
    with pytest.raises(ValueError, match="'backend' argument must be a model that sees images"):
        critic(Scripted(LINES, with_images(0))).check_data(1, (28, 28), ["3"])


def test_an_own_prompt():
    backend = Scripted(LINES)
    prompt = CriticPrompt("Be brief.", "About {segments}: {description}", version="brief 1")
    critic(backend, prompt=prompt).critique([corner_and_centre(description="bone")])
    assert last_question(backend.asked[0]).endswith("About 1, 2: | bone")


# Answers that are none.


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            ChatReply("Segment 1: spurious\nSegment 2: spu", "m", "length"),
            [("spurious", "line"), ("unsure", "truncated")],
        ),
        (ChatReply("", "m", "length"), [("unsure", "truncated")] * 2),
        (ChatReply("Segment 1: spurious", "m", "refusal"), [("unsure", "refused")] * 2),
        ("I'm sorry, I can't help with medical images.", [("unsure", "refused")] * 2),
        ("Who knows?", [("unsure", "none")] * 2),
        ("Segment 2: relevant", [("unsure", "missing"), ("relevant", "line")]),
        ("Segment 1: relevant\nSegment 1: spurious", [("unsure", "contradiction"), ("unsure", "missing")]),
    ],
)  # fmt: skip
def test_what_is_read_of_bad_answers(answer, found):
    assert verdicts(critic(answer).critique([corner_and_centre()])) == [found]


def test_reasoning_that_took_all_tokens_is_given_twice_as_many():
    backend = Scripted(
        lambda request, i: ChatReply("", "m", "length") if request.max_tokens == 100 else LINES
    )
    (critique,) = critic(backend, max_tokens=100).critique([corner_and_centre()])
    assert [request.max_tokens for request in backend.asked] == [100, 200]
    assert critique.text == LINES


@pytest.mark.parametrize("wrap", [lambda backend: backend, wrap_backend])
@pytest.mark.parametrize("kept", [{}, {"cache": "replies.sqlite"}])
def test_tokens_are_doubled_once_whoever_retries(wrap, kept, tmp_path):
    backend = Scripted(ChatReply("", "m", "length"))
    options = {name: tmp_path / file for name, file in kept.items()}
    LVLMCritic(wrap(backend), renderer=SMALL, max_tokens=100, **options).critique(make([0]))
    assert [request.max_tokens for request in backend.asked] == [100, 200]


def test_one_failure_harms_no_other_image_and_is_asked_again_next_time(tmp_path):
    path = tmp_path / "critiques.jsonl"
    down = ChatFailure("server", "Segment 1: spurious")

    def answer(request, i):
        return down if i == 2 else LINES

    critiques = collect_critiques(critic(answer), IDS, make, path=path)
    assert [c.answered for c in critiques] == [True, True, False, True, True]
    assert verdicts(critiques)[2] == [("unsure", "failed")] * 2  # the server's words are no verdict
    assert len(path.read_bytes().splitlines()) == 4
    backend = Scripted(LINES)
    again = collect_critiques(critic(backend), IDS, make, path=path)
    assert len(backend.asked) == 1
    assert [c.text for c in again] == [LINES] * 5


@pytest.mark.parametrize("kind", ["quota", "auth", "not_found", "budget"])
def test_a_fatal_failure_stops_after_what_was_answered_is_kept(tmp_path, kind):
    path = tmp_path / "critiques.jsonl"
    stopping = critic(lambda request, i: LINES if i < 3 else ChatFailure(kind, "no more"))
    with pytest.raises(ModelStoppedError, match=f"'scripted' stopped answering .{kind}.: no more"):
        collect_critiques(stopping, IDS, make, path=path, chunk_size=2)
    backend = Scripted(LINES)
    collect_critiques(critic(backend), IDS, make, path=path)
    assert len(backend.asked) == 2


def test_where_nothing_is_answered_it_stops():
    with pytest.raises(ModelStoppedError, match="timeout"):
        critic(ChatFailure("timeout", "too slow")).critique(make(range(3)))


def test_a_backend_that_breaks_the_contract_is_named():
    class Short(Scripted):
        def complete(self, requests):
            return []

    with pytest.raises(ValueError, match="one reply or failure per request. Got 0 for 1"):
        critic(Short("")).critique(make([0]))


# Settings.


def test_the_cache_and_the_budget_wrap_the_model(tmp_path):
    backend = Scripted(LINES)
    options = {"cache": tmp_path / "replies.sqlite", "budget": Budget(max_requests=2)}
    first = critic(backend, **options).critique(make([0]))
    assert critic(backend, **options).critique(make([0])) == first
    assert len(backend.asked) == 1
    two = [corner_and_centre(index=i, label=str(i)) for i in range(5)]
    with pytest.raises(ModelStoppedError, match="budget"):
        critic(backend, **options).critique(two)


def test_what_it_would_cost_is_known_before_anything_is_sent():
    backend = Scripted(LINES)
    costs = estimate(critic(backend, votes=2).chat_requests(make(range(3))))
    assert (costs.requests, costs.images, costs.output_tokens) == (6, 24, 6 * 1024)
    assert backend.asked == []


def test_copies_and_fingerprints():
    one = critic(LINES)
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again.critique(make([0])) == one.critique(make([0]))
    prints = [
        critic(LINES, **options).fingerprint()
        for options in (
            {},
            {"votes": 2},
            {"max_tokens": 5},
            {"per_segment": True},
            {"prompt": CriticPrompt("", "{segments}{description}")},
        )
    ]
    assert len({json.dumps(text, sort_keys=True) for text in prints}) == 5
    assert LVLMCritic("hf:nowhere").name == "hf:nowhere"  # nothing is loaded yet


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": 3}, "'backend' argument must be a chat model"),
        ({"backend": Scripted}, "'backend' argument must be a chat model"),
        ({"prompt": "six steps"}, "'prompt' argument must be a CriticPrompt"),
        ({"renderer": 3}, "'renderer' argument"),
        ({"per_segment": "never"}, "'per_segment' argument must be True, False or 'auto'"),
        ({"votes": 0}, "'votes' argument must be an integer of at least 1. Got 0"),
        ({"max_tokens": 1.5}, "'max_tokens'"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LVLMCritic(**{"backend": Scripted(LINES), **options})

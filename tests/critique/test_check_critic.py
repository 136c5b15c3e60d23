"""The conformance suite for critics: all of ours pass, and each broken promise is named."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from lvlm_va.backends import Capabilities, OpenAIBackend, ScriptedBackend, estimate
from lvlm_va.critique import (
    Critique,
    JudgeExample,
    LLMJudge,
    LVLMCritic,
    OracleCritic,
    ParserJudge,
    RegionCritic,
    RegionRenderer,
    SegmentVerdict,
    TableCritic,
    TinyCritic,
    VerdictTable,
)
from lvlm_va.testing import check_critic
from tests.critique.making import corner_and_centre
from tests.critique.own import OwnCritic, PlainCritic
from tests.critique.scripted import last_question, verdict_lines
from tests.serving import Answer, FaultServer

SMALL = RegionRenderer(size=64)
REQUESTS = [corner_and_centre(index=i) for i in range(3)]


def obedient(request):
    return "It covers the tag.\n" + verdict_lines(last_question(request), "spurious")


def lvlm(replies, capabilities=None, **options):
    return LVLMCritic(ScriptedBackend(replies, capabilities=capabilities), renderer=SMALL, **options)


@pytest.mark.parametrize(
    "critic",
    [
        lvlm(obedient),
        lvlm(obedient, votes=2, per_segment=True),
        lvlm(lambda request: "I'm sorry, I can't help with that."),
        lvlm(lambda request: ""),
        lvlm(obedient, capabilities=Capabilities(max_images=1, per_segment=True)),
        RegionCritic({"ill": {"relevant": ["centre"]}, "well": {"irrelevant": ["corners"]}}),
        lambda: RegionCritic({"irrelevant": ["corners"]}),
        TinyCritic,
    ],
    ids=["lvlm", "votes", "refusing", "silent", "small", "region", "made", "tiny"],
)  # fmt: skip
def test_our_critics_keep_their_promises(critic):
    check_critic(critic)


def test_critics_that_know_only_their_own_data(tmp_path):
    check_critic(
        OracleCritic(np.ones((3, 28, 28), bool), verdict_accuracy=0.5, random_state=0), requests=REQUESTS
    )
    check_critic(
        OracleCritic(
            np.zeros((3, 28, 28)), object_masks=np.ones((3, 28, 28)), confuses="surroundings", random_state=0
        ),
        requests=REQUESTS,
    )
    VerdictTable((SegmentVerdict("1", 2, "spurious", source="human"),)).save(tmp_path / "table.json")
    check_critic(TableCritic(str(tmp_path / "table.json")))


def test_a_critic_with_a_judge_that_asks_a_model():
    judge = LLMJudge(
        ScriptedBackend(lambda request: "Segment 1: relevant"), (JudgeExample("A tag.", "spurious"),)
    )
    check_critic(lvlm(obedient), judge=judge)


class Own:
    """A third party's critic, right but for what a test changes."""

    name = "own"

    def critique(self, requests):
        return [
            Critique(r.image_id, "", tuple(SegmentVerdict(r.image_id, k, "unsure") for k in range(1, r.n_segments + 1)))
            for r in requests
        ]  # fmt: skip


class Nameless(Own):
    name = ""


class Missing(Own):
    def critique(self, requests):
        return super().critique(requests[1:])


class Shuffled(Own):
    def critique(self, requests):
        return super().critique(requests)[::-1]


class Writing(Own):
    def critique(self, requests):
        for request in requests:
            request.image[0, 0] = 0
        return super().critique(requests)


class Drawing(Own):
    def critique(self, requests):
        random.random()
        return super().critique(requests)


class Mute(Own):
    def critique(self, requests):
        return [Critique(r.image_id, "It is a tag.") for r in requests]


class Restless(Own):
    count = itertools.count()

    def fingerprint(self):
        return next(self.count)


class Opaque(Own):
    def fingerprint(self):
        return [object]


class Learning(Own):
    def __init__(self):
        self.asked = 0

    def critique(self, requests):
        self.asked += 1
        return super().critique(requests)

    def fingerprint(self):
        return self.asked


class Unlike(Own):
    count = itertools.count()

    def __init__(self):
        self.number = next(self.count)

    def fingerprint(self):
        return self.number


class Uncopied(Own):
    def __deepcopy__(self, memo):
        raise TypeError("cannot copy")


class Bytes(Own):
    def critique(self, requests):
        return [dataclasses.replace(c, text=b"tag") for c in super().critique(requests)]


class Lost(OwnCritic):
    def kept_in(self, run_dir):
        return None


class Renamed(OwnCritic):
    def kept_in(self, run_dir):
        return Own()


class Untold(Own):
    def kept_in(self, run_dir):
        return self


class Fickle(OwnCritic):
    count = itertools.count()

    def read(self, request, text):
        return dataclasses.replace(super().read(request, text), text=str(next(self.count)))


class Guessing(OwnCritic):
    def estimate_critiques(self, requests, prices=None):
        return len(requests)


class Charging(OwnCritic):
    def estimate_critiques(self, requests, prices=None):
        return estimate(self.chats([*requests, REQUESTS[0]]), prices)


class Boundless(OwnCritic):
    def longest_critique(self, request):
        return Critique("another", "x" * 9)


class Grasping(OwnCritic):
    def judge_for(self, spec):
        return ParserJudge()


class Waiting(OwnCritic):
    def hand_over_images(self, requests):
        return self.critique(requests)


def asking(kind, **options):
    return kind(ScriptedBackend(lambda request: "spurious"), **options)


@pytest.mark.parametrize("kind", [PlainCritic, OwnCritic])
def test_a_third_partys_critic_that_asks_a_model(kind):
    check_critic(asking(kind))


def test_a_third_partys_critic_that_asks_by_batches(tmp_path):
    with FaultServer(lambda asked: Answer("unsure")) as server:
        critic = OwnCritic(OpenAIBackend("any", base_url=server.url), folder=tmp_path, batch=True)
        check_critic(critic)
        assert len(server.batches[0].entries) == 12


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (asking(Lost), "'kept_in' must return a critic of the same name and fingerprint. Got None"),
        (asking(Renamed), "'kept_in' must return a critic of the same name and fingerprint. Got .*Own"),
        (Untold(), "A critic with 'kept_in' must have a 'fingerprint'"),
        (asking(Fickle), "What a critic keeps it must say again. It did not for image 'image-0'"),
        (
            asking(Guessing),
            "'estimate_critiques' must return an Estimate, with a cost at these prices. Got 12",
        ),
        (
            asking(Charging),
            "'estimate_critiques' must return an Estimate of 0 requests for none. Got Estimate.requests=1,",
        ),
        (
            asking(Boundless),
            "'longest_critique' must return a Critique of the image. Got Critique.image_id='another'",
        ),
        (asking(Grasping), "'judge_for' must return None for another model than its own. Got ParserJudge"),
        (asking(Waiting, batch=True), "'hand_over_images' must return nothing. Got .Critique"),
    ],
)
def test_broken_promises_of_optional_methods_are_named(critic, message):
    with pytest.raises(AssertionError, match=message):
        check_critic(critic)


def test_a_third_partys_critic():
    assert isinstance(check_critic(Own), Own)


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (3, "An estimator takes no such critic"),
        (Nameless, "'name' must be text that is not empty. Got ''"),
        (Missing, "one critique per request. Got 11 for 12"),
        (Shuffled, "in the order of the requests"),
        (Writing, "must not write into its requests. It did for image 'image-0'"),
        (Drawing, "global random state"),
        (Mute, "must reach a verdict on every segment. Got none for the images .'image-0'"),
        (Restless, "'fingerprint' must not change. Got 0, then 1"),
        (Opaque, "'fingerprint' must return what JSON can hold"),
        (Learning, "must not change by use"),
        (Unlike, "the same for two critics made alike"),
        (Uncopied, "copy.deepcopy must give an equal critic. Got TypeError"),
        (Bytes, "'text' must be text. Got b'tag'"),
    ],
)
def test_broken_promises_are_named(critic, message):
    with pytest.raises(AssertionError, match=message):
        check_critic(critic)


def test_a_judge_may_be_what_a_critic_lacks():
    check_critic(Mute(), judge=ParserJudge())

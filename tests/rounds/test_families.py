"""Questions about families of segments in the place of images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic, VerdictTable
from lvlm_va.backends import OpenAIBackend
from lvlm_va.critique import Critique, CritiqueRequest, LVLMCritic, ModelStoppedError, SegmentVerdict
from lvlm_va.critique.types import FamilyRequest
from lvlm_va.propagation import Propagation
from lvlm_va.report.run_record import read_run
from tests.serving import FAULTS, Answer, FaultServer

# The nets here are hardly trained, and some critics say nothing of use.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SIDE = 12
DESCRIPTIONS = {0: "The blob counts. The patch does not.", 1: "The blob counts. The patch does not."}


def tagged(n: int = 60) -> tuple[Any, Any, Any]:
    """A blob high up or low down says the class; so does a patch in a corner, which only class 1 has."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X, masks = rng.uniform(0, 0.2, (n, 1, SIDE, SIDE)), np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        column = rng.integers(3, 6)
        row = 2 if y[i] == 0 else 6
        X[i, 0, row : row + 4, column : column + 4] += 0.5
        if y[i]:
            corner = slice(0, 3) if i % 4 == 1 else slice(SIDE - 3, SIDE)
            X[i, 0, :3, corner] = 1
            masks[i, :3, corner] = True
    return X, y, masks


X, Y, MASKS = tagged()


def fitted(critic: Any, **parameters: Any) -> LVLMVAClassifier:
    defaults = {"epochs": 8, "align_epochs": 1, "batch_size": 32, "random_state": 0, "ask": "families"}
    defaults |= {"n_references": 5, "specifications": DESCRIPTIONS}
    return LVLMVAClassifier("mlp", critic=critic, **(defaults | parameters)).fit(X, Y)


class Counting(OracleCritic):
    """An oracle that counts what it is asked."""

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        vars(self).setdefault("asked", []).extend(request.image_id for request in requests)
        return super().critique(requests)

    def fingerprint(self) -> str:
        return "counting"


class Judging:
    """Judges families: by the truth, and where the examples differ not at all."""

    name = "judging"
    judges_families = True

    def __init__(self, *, unsure: bool = False) -> None:
        self.unsure, self.asked = unsure, []

    def fingerprint(self) -> bool:
        return self.unsure

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        self.asked += requests
        return [
            Critique.from_verdicts(
                request.image_id,
                [self._judge(request, segment) for segment in range(1, request.n_segments + 1)],
            )
            for request in requests
        ]

    def _judge(self, request: CritiqueRequest, segment: int) -> SegmentVerdict:
        members = request.members if isinstance(request, FamilyRequest) else [request]
        inside = [MASKS[one.index][one.segments == segment].mean() >= 0.5 for one in members]
        verdict = "spurious" if all(inside) else "unsure" if self.unsure or any(inside) else "relevant"
        return SegmentVerdict(request.image_id, segment, verdict)


@pytest.fixture(scope="module")
def mended() -> LVLMVAClassifier:
    return fitted(Counting(MASKS))


def test_a_few_questions_reach_nearly_all_segments_as_one_for_each_image_would(mended):
    plain = fitted(OracleCritic(MASKS), ask="images", n_align=len(X))
    families = mended.families_
    assert len(mended.alignment_set_) == len(mended.masks_) == len(X)
    assert families.n_questions <= 20 < len(X)
    verdicts = {(v.image_id, v.segment): v.verdict for v in mended.verdicts_.verdicts}
    right = [verdicts[v.image_id, v.segment] == v.verdict for v in plain.verdicts_.verdicts]
    assert len(right) == len(verdicts)
    assert np.mean(right) > 0.95
    assert families.n_agreeing > 0.8 * families.n_checked > 0
    covered = (mended.masks_ & MASKS[mended.alignment_set_]).sum() / MASKS.sum()
    assert covered > 0.9 * (plain.masks_ & MASKS[plain.alignment_set_]).sum() / MASKS.sum()


def test_every_segment_has_the_verdict_of_its_family_unless_its_image_was_asked_about(mended):
    of = {place: family for family in mended.families_.families for place in family.members}
    by_itself = 0
    for verdict in mended.verdicts_.verdicts:
        family = of[verdict.image_id, verdict.segment]
        if verdict.reason.startswith(f"family {family.name}: "):
            assert verdict.verdict == family.verdict.verdict
        else:
            by_itself += 1
    assert 0 < by_itself < 20
    assert sum(family.share for family in mended.families_.families) == pytest.approx(
        float(mended.segments_.shares.sum(1).mean())
    )


def test_a_critic_that_knows_no_families_is_asked_about_each_example_once():
    critic = Counting(MASKS)
    clf = fitted(critic)
    assert len(critic.asked) == len(set(critic.asked)) == clf.families_.n_requests


@pytest.mark.parametrize("n_questions", [1, 2, 7, 30])
def test_no_more_is_asked_than_allowed_and_what_is_in_doubt_is_split(n_questions):
    critic = Judging(unsure=True)
    clf = fitted(critic, n_questions=n_questions, segmenter="grid")
    families = clf.families_
    asked = [request for request in critic.asked if isinstance(request, FamilyRequest)]
    assert len(critic.asked) == families.n_questions == families.n_requests <= n_questions
    for request in asked:
        assert len({one.image_id for one in request.members}) == len(request.members) <= 6
        assert request.members[0].label == request.label
        assert all(one.n_segments == 1 for one in request.members)
    names = {request.name for request in asked}
    whole = {family.name for family in families.families}
    # Of what was split, the halves take its place.
    assert not any(other.startswith(f"{name}.") for name in whole for other in whole)
    assert all(any(f == name or f.startswith(f"{name}.") for f in whole) for name in names)
    assert any("." in name for name in names) == (n_questions > 1)
    shown = [[one.image_id for one in request.members] for request in asked]
    assert all(f.asked == ([image for image, _ in f.exemplars] in shown) for f in families.families)
    members = [place for family in families.families for place in family.members]
    assert len(members) == len(set(members)) == len(clf.verdicts_.verdicts)
    unsure = {v.verdict for v in clf.verdicts_.verdicts if v.reason.startswith("family")}
    assert unsure <= {"unsure", "spurious"}


def lines(asked: Any) -> Answer:
    numbers = asked.text.split("What is each of the segments ")[1].split(" about?")[0].split(", ")
    answer = "artefact" if "examples 1 to" in asked.text else "object"
    return Answer("\n".join(f"Segment {k} | covers: a thing | answer: {answer}" for k in numbers))


def test_a_model_is_asked_no_more_often_than_is_said_and_nothing_twice(tmp_path):
    calls = []

    def say(asked):
        calls.append(asked)
        return FAULTS["quota"] if len(calls) == 4 else lines(asked)

    with FaultServer(say) as server:
        critic = LVLMCritic(OpenAIBackend("any", base_url=server.url))
        with pytest.raises(ModelStoppedError):
            fitted(critic, run_dir=tmp_path, n_questions=8)
        clf = fitted(critic, run_dir=tmp_path, n_questions=8)
        families = clf.families_
        assert sum(server.answered.values()) == families.n_questions == families.n_requests <= 8
        shown = [asked for asked in server.asked if "examples 1 to" in asked.text]
        assert all(len(asked.images) == 2 for asked in shown)
        assert all("The patch does not." in asked.text for asked in shown)
        before = len(server.asked)
        again = fitted(critic, run_dir=tmp_path, n_questions=8)
        assert len(server.asked) == before
    assert again.verdicts_ == clf.verdicts_
    assert "judged as their families" in "".join(clf.remarks_)  # single images say otherwise
    assert {v.source for v in clf.verdicts_.verdicts} == {"parser"}
    record = read_run(tmp_path)
    assert record.verdicts.verdicts == clf.verdicts_.verdicts
    assert all("a thing" in critique.text for critique in record.critiques if critique.verdicts)


def test_its_cost_is_told_before(tmp_path):
    with FaultServer(lines) as server:
        critic = LVLMCritic(OpenAIBackend("any", base_url=server.url))
        cost = LVLMVAClassifier(
            "mlp", critic=critic, ask="families", epochs=2, n_questions=12, random_state=0
        ).estimate_cost(X, Y)
        assert (cost.requests, len(server.asked)) == (12, 0)


def test_a_person_judges_families_by_their_names(mended):
    seen = fitted({})
    assert [f.verdict.verdict for f in seen.families_.families] == ["relevant"] * len(seen.families_.families)
    assert all(f.sheet.startswith(b"\x89PNG") for f in seen.families_.families)
    patches = [
        f for f in seen.families_.families if all(MASKS[int(i)].any() for i, _ in f.exemplars)
    ]  # of class 1, some of them of the patch
    named = {int(patches[0].name): "spurious", patches[-1].name: "unsure"}
    clf = fitted({"families": seen.families_.fingerprint, **named})
    spurious = {(v.image_id, v.segment) for v in clf.verdicts_.verdicts if v.verdict == "spurious"}
    assert spurious == set(patches[0].members)
    with pytest.raises(ValueError, match="families that are found here"):
        fitted({"families": seen.families_.fingerprint, **named}, random_state=1)
    with pytest.raises(ValueError, match="which families it is on"):
        fitted(named)
    with pytest.raises(ValueError, match="'ask' argument must be 'families'"):
        fitted({"families": "", 1: "spurious"}, ask="images")


def test_a_table_of_verdicts_is_read_by_the_segments_own_numbers(mended, tmp_path):
    fitted(OracleCritic(MASKS), ask="images", n_align=len(X)).verdicts_.save(tmp_path / "verdicts.json")
    clf = fitted(f"table:{tmp_path / 'verdicts.json'}")
    assert [f.verdict.verdict for f in clf.families_.families] == [
        f.verdict.verdict for f in mended.families_.families
    ]


def test_it_goes_with_propagation_corrections_and_rounds(tmp_path):
    rule = RegionCritic({"irrelevant": ["corners"]})
    clf = fitted(rule, propagate=Propagation(LogisticRegression()), n_rounds=2, run_dir=tmp_path)
    assert len(clf.propagated_.indices) == len(X)
    verdict = next(v for v in clf.verdicts_.verdicts if v.verdict == "spurious")
    edit = SegmentVerdict(verdict.image_id, verdict.segment, "relevant", source="human")
    clf.realign(VerdictTable((edit,)))
    assert clf.verdicts_.get(verdict.image_id, verdict.segment) == edit
    assert clf.report(tmp_path / "report.html").exists()
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert latest["parameters"]["ask"] == "families"


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ValueError, match="'sampler' argument"):
        fitted(OracleCritic(MASKS), sampler="adaptive")
    with pytest.raises(ValueError, match="'ask' argument must be 'images'"):
        LVLMVAClassifier("mlp", critic={}, ask="families", epochs=1).fit(
            X, np.stack([Y, np.arange(len(Y)) % 3 == 0], 1)
        )

"""Rounds that stop by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils._param_validation import InvalidParameterError

from lvlm_va import LVLMVAClassifier
from lvlm_va.critique import Critique, CritiqueRequest, SegmentVerdict, VerdictTable

N = 6


class Calming:
    """Calls all spurious in its first images, and the first segment of every `one_in` images later."""

    name = "calming"

    def __init__(self, n_spurious: int, one_in: int = 1000) -> None:
        self.n_spurious, self.one_in, self.asked = n_spurious, one_in, 0

    def fingerprint(self) -> object:
        return self.n_spurious, self.one_in

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        return [self._judge(request) for request in requests]

    def _judge(self, request: CritiqueRequest) -> Critique:
        self.asked += 1
        later = self.asked - self.n_spurious
        verdicts = [
            SegmentVerdict(
                request.image_id,
                segment,
                "spurious" if later <= 0 or (segment == 1 and later % self.one_in == 0) else "relevant",
            )
            for segment in range(1, request.n_segments + 1)
        ]
        return Critique.from_verdicts(request.image_id, verdicts)


def fitted(critic: Any, blobs: tuple[Any, Any], **parameters: Any) -> LVLMVAClassifier:
    defaults = {"n_align": N, "n_rounds": 4, "epochs": 3, "align_epochs": 2, "random_state": 0}
    defaults["segmenter"] = "ppeps_wgm"  # which leaves nothing outside its segments
    return LVLMVAClassifier("mlp", critic=critic, **(defaults | parameters)).fit(*blobs)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_stops_when_nothing_spurious_is_left(blobs: tuple[Any, Any]) -> None:
    clf = fitted(Calming(N), blobs, round_tolerance=0)
    assert clf.spurious_share_ == (pytest.approx(1), 0)
    assert len(set(clf.alignment_set_)) == len(clf.masks_) == 2 * N
    assert len(clf.history_["align"]) == 1
    assert same(clf.module_, fitted(Calming(N), blobs, n_rounds=1).module_)


def test_goes_on_to_the_last_round_otherwise(blobs: tuple[Any, Any]) -> None:
    clf = fitted(Calming(100), blobs)
    assert clf.spurious_share_ == pytest.approx((1, 1, 1, 1))
    assert len(clf.history_["align"]) == 4
    assert clf.masks_.shape[0] == 4 * N


def test_a_little_is_tolerated_as_far_as_it_is_told(blobs: tuple[Any, Any]) -> None:
    critic = Calming(N, one_in=N)
    shares = fitted(Calming(N, one_in=N), blobs, n_rounds=2, round_tolerance=0).spurious_share_
    assert 0 < shares[1] < 0.2
    for tolerance, n_done in ((shares[1], 2), (0.99 * shares[1], 3)):
        critic = Calming(N, one_in=N)
        clf = fitted(critic, blobs, n_rounds=3, round_tolerance=tolerance)
        assert len(clf.spurious_share_) == n_done


@pytest.mark.parametrize("n_rounds", [1, 3])
def test_a_clean_module_is_critiqued_once_and_aligned_all_the_same(
    blobs: tuple[Any, Any], n_rounds: int
) -> None:
    with pytest.warns(UserWarning, match="No segment was judged spurious"):
        clf = fitted(Calming(0), blobs, n_rounds=n_rounds)
    assert clf.spurious_share_ == (0,)
    assert len(clf.history_["align"]) == 1
    assert not clf.masks_.any()


@pytest.mark.parametrize("propagate", [False, 30])
def test_corrections_of_a_clean_round_count(
    blobs: tuple[Any, Any], propagate: bool | int, tmp_path: Path
) -> None:
    clf = fitted(Calming(N), blobs, propagate=propagate, run_dir=tmp_path)
    before = clf.module_
    assert same(clf.realign(clf.verdicts_, *blobs).module_, before)
    late = [v for v in clf.verdicts_.verdicts if v.verdict == "relevant"]
    edits = VerdictTable(tuple(replace(v, verdict="spurious", source="human") for v in late))
    clf.realign(edits)
    assert clf.masks_[N:].any()
    assert not same(clf.module_, before)
    # The files say so, too; the critic is not asked again.
    critic = Calming(N)
    again = fitted(critic, blobs, propagate=propagate, run_dir=tmp_path)
    assert critic.asked == 0
    assert same(again.module_, clf.module_)
    np.testing.assert_array_equal(again.masks_, clf.masks_)


@pytest.mark.parametrize("tolerance", [-0.1, 1.1, "all"])
def test_tolerance_is_a_share(blobs: tuple[Any, Any], tolerance: Any) -> None:
    with pytest.raises(InvalidParameterError, match="'round_tolerance' parameter"):
        fitted(Calming(0), blobs, round_tolerance=tolerance)


def test_the_summary_is_of_the_unaligned_module(blobs: tuple[Any, Any]) -> None:
    two = fitted(Calming(N), blobs, n_rounds=2)
    assert str(two.behaviour_summary()) == str(fitted(Calming(N), blobs, n_rounds=1).behaviour_summary())


def test_an_estimate_draws_no_random_number(blobs: tuple[Any, Any]) -> None:
    state = np.random.RandomState(0)
    clf = LVLMVAClassifier("mlp", critic=Calming(N), n_align=N, epochs=1, random_state=state)
    clf.estimate_cost(*blobs)
    assert state.randint(1000) == np.random.RandomState(0).randint(1000)


class Recovering(Calming):
    """Has no answer for every other image until it is `up`."""

    up = False

    def _judge(self, request: CritiqueRequest) -> Critique:
        self.asked += 1
        silent = not self.up and self.asked % 2 == 0
        verdicts = [
            SegmentVerdict(
                request.image_id,
                segment,
                "unsure" if silent else "spurious",
                status="failed" if silent else "json",
            )
            for segment in range(1, request.n_segments + 1)
        ]
        return Critique.from_verdicts(request.image_id, verdicts)


def test_an_answer_that_comes_late_counts(blobs: tuple[Any, Any], tmp_path: Path) -> None:
    critic = Recovering(0)
    early = fitted(critic, blobs, n_rounds=1, run_dir=tmp_path)
    assert early.verdicts_.counts()["unsure"]
    critic.asked, critic.up = 0, True
    late = fitted(critic, blobs, n_rounds=1, run_dir=tmp_path)
    assert critic.asked == N // 2
    assert late.verdicts_.counts()["unsure"] == 0
    assert not any(verdict.source == "human" for verdict in late.verdicts_.verdicts)

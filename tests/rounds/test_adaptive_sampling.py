"""Adaptive sampling: as many images as asked for, none twice, nothing asked again, and more shortcuts found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic
from lvlm_va.backends import ChatFailure
from lvlm_va.critique import (
    Critique,
    CritiqueRequest,
    LVLMCritic,
    ModelStoppedError,
    RegionRenderer,
    SegmentVerdict,
)
from lvlm_va.datasets import DecoyData, decoy_digits
from lvlm_va.propagation import SegmentVerdicts
from lvlm_va.rounds.adaptive_sampling import (
    Candidates,
    choose_portion,
    exploration_order,
    n_candidates,
    portion_sizes,
)
from lvlm_va.sampling import select_alignment_set
from tests.critique.scripted import SPECIFICATIONS, Scripted, last_question, verdict_lines

# Portions of 10, 1 and 1.
N = 12


class Counting:
    """Calls the corners spurious; counts the images it is asked about, and goes away after so many calls."""

    name = "counting"

    def __init__(self, verdict: str | None = None, n_calls: int = 1000) -> None:
        self.asked: list[str] = []
        self.verdict, self.left = verdict, n_calls

    def fingerprint(self) -> object:
        return self.verdict

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the critic went away")
        self.asked += [request.image_id for request in requests]
        answers = RegionCritic({"irrelevant": ["corners"]}).critique(requests)
        if self.verdict is None:
            return answers
        return [
            Critique.from_verdicts(
                answer.image_id,
                [SegmentVerdict(v.image_id, v.segment, self.verdict) for v in answer.verdicts],
            )
            for answer in answers
        ]


def fitted(critic: Any, digits: DecoyData, **parameters: Any) -> LVLMVAClassifier:
    defaults = {"sampler": "adaptive", "n_align": N, "epochs": 4, "align_epochs": 0, "batch_size": 32}
    return LVLMVAClassifier("mlp", critic=critic, random_state=0, **(defaults | parameters)).fit(
        digits.images, digits.labels
    )


@pytest.mark.parametrize("n_align", [1, 9, 10, 11, 13, 30, 300, 5000])
def test_portions_add_up_and_grow(n_align: int) -> None:
    sizes = portion_sizes(n_align)
    assert sum(sizes) == n_align
    assert min(sizes) > 0
    assert len(sizes) <= 6
    assert sizes[1:] == sorted(sizes[1:])
    assert n_candidates(n_align) >= n_align


def test_exploration_takes_turns_and_leaves_nobody_out() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.5, 1, 40)
    labels = np.repeat([0, 1], [36, 4])
    order = exploration_order(np.stack([first, 1 - first], 1), labels, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(order), np.arange(40))
    assert set(np.argsort(-first)[:4]) <= set(order[:8])
    assert (labels[order[:8]] == 1).sum() >= 2


def portion(spurious: Sequence[bool], size: int, p_class: Sequence[int]) -> list[int]:
    """Choose among 40 images of one segment; what is bright in the first feature was judged spurious."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3)).astype(np.float32)
    features[:, 0] = np.where(np.arange(40) % 4 == 0, 5, -5)
    known = np.zeros((len(spurious), 3), np.float32)
    known[:, 0] = np.where(spurious, 5, -5)
    rows = torch.arange(100, 140)
    candidates = Candidates(
        rows, torch.arange(40), torch.linspace(0.9, 0.1, 40).double(), torch.from_numpy(features)
    )
    free = torch.arange(40) != 36
    verdicts = SegmentVerdicts(known, 0, np.arange(len(spurious)), np.array(spurious, dtype=bool))
    chosen = choose_portion(candidates, free, torch.tensor(p_class), verdicts, size, 0)
    assert len(set(chosen.tolist())) == size
    return (chosen - 100).tolist()


def test_chooses_what_looks_like_the_spurious_of_every_class_and_explores() -> None:
    labels = [int(i >= 24) for i in range(40)]
    chosen = portion([True, False] * 10, 10, labels)
    assert chosen[0] == 0  # the one to explore
    likely, others = chosen[1:9], chosen[9:]
    assert sorted(likely) == [4, 8, 12, 16, 20, 24, 28, 32]
    assert {labels[i] for i in likely[:2]} == {0, 1}
    assert likely[0] == 4  # the largest share
    assert others[0] % 4


@pytest.mark.parametrize("spurious", [[], [True] * 5, [False] * 5])
def test_without_two_kinds_of_verdicts_it_explores(spurious: list[bool]) -> None:
    assert portion(spurious, 38, [0] * 40) == [i for i in range(39) if i != 36]


@pytest.fixture(scope="module")
def whole(digits: DecoyData) -> LVLMVAClassifier:
    return fitted(Counting(), digits)


def test_distinct_images_of_which_all_is_told(whole: LVLMVAClassifier) -> None:
    assert len(set(whole.alignment_set_)) == N
    assert [c.image_id for c in whole.critiques_] == [str(row) for row in whole.alignment_set_]
    assert whole.masks_.shape == (N, 28, 28)
    assert sum(whole.verdicts_.counts().values()) == int(whole.segments_.n_segments.sum())


@pytest.mark.parametrize("verdict", ["unsure", "relevant", "spurious"])
def test_verdicts_that_teach_nothing(digits: DecoyData, verdict: str) -> None:
    told = {"unsure": "are 'unsure'", "relevant": "No segment was judged spurious"}.get(verdict)
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        clf = fitted(Counting(verdict), digits, n_align=5 if verdict == "spurious" else N)
    assert len(set(clf.alignment_set_)) == clf.n_align


def test_all_images_in_two_rounds(digits: DecoyData) -> None:
    few = DecoyData(
        digits.images[: 2 * N], digits.labels[: 2 * N], digits.masks[: 2 * N], digits.groups[: 2 * N]
    )
    clf = fitted(Counting("spurious"), few, n_rounds=2)
    np.testing.assert_array_equal(np.sort(clf.alignment_set_), np.arange(2 * N))


def test_a_run_killed_between_portions_asks_nothing_again(
    digits: DecoyData, whole: LVLMVAClassifier, tmp_path: Path
) -> None:
    asked: list[str] = []
    for n_calls in (1, 1, 1000):
        critic = Counting(n_calls=n_calls)
        if n_calls == 1:
            with pytest.raises(ConnectionError):
                fitted(critic, digits, run_dir=tmp_path)
        else:
            clf = fitted(critic, digits, run_dir=tmp_path)
        asked += critic.asked
    assert len(asked) == len(set(asked)) == int((whole.segments_.n_segments > 0).sum())
    np.testing.assert_array_equal(clf.alignment_set_, whole.alignment_set_)
    again = Counting()
    np.testing.assert_array_equal(fitted(again, digits, run_dir=tmp_path).alignment_set_, clf.alignment_set_)
    assert not again.asked


def test_with_a_judge_and_an_estimate_of_the_cost(blobs: tuple[Any, Any], tmp_path: Path) -> None:
    def say(request: Any, number: int) -> str | ChatFailure:
        if number == 10 and len(critic.backend.asked) == 11:
            return ChatFailure("quota", "no more")
        return verdict_lines(last_question(request), "spurious" if number % 2 else "relevant")

    critic = LVLMCritic(Scripted(say), renderer=RegionRenderer(size=64), per_segment=False)
    parameters = {"critic": critic, "judge": "parser", "sampler": "adaptive", "n_align": 12, "epochs": 1}
    parameters["specifications"] = SPECIFICATIONS
    clf = LVLMVAClassifier("mlp", align_epochs=0, random_state=0, run_dir=tmp_path, **parameters)
    assert clf.estimate_cost(*blobs).requests == 12
    assert not critic.backend.asked
    with pytest.raises(ModelStoppedError):
        clf.fit(*blobs)
    assert clf.estimate_cost(*blobs).requests == 2  # the first portion is known
    clf.fit(*blobs)
    assert len(set(clf.alignment_set_)) == 12
    assert len(critic.backend.asked) == 13
    assert clf.estimate_cost(*blobs).requests == 0


def test_finds_more_than_the_most_confident_images_show() -> None:
    data = decoy_digits("train", random_state=0)
    found = {}
    for sampler in ("low_entropy", "adaptive"):
        clf = fitted(OracleCritic(data.masks), data, sampler=sampler, n_align=60, epochs=12)
        found[sampler] = clf.masks_.any((1, 2)).mean(), clf.spurious_share_[0]
    assert found["adaptive"][0] >= found["low_entropy"][0] + 0.15
    assert found["adaptive"][1] >= 1.5 * found["low_entropy"][1]


def test_cannot_choose_by_probabilities_alone() -> None:
    with pytest.raises(ValueError, match=r"'sampler' argument .*'adaptive' instead.*LVLMVAClassifier"):
        select_alignment_set("adaptive", [[0.5, 0.5]], [0], 1)

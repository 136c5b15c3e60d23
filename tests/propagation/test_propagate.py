"""Verdicts extended by the estimator."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.critique import Critique, SegmentVerdict, VerdictTable
from lvlm_va.datasets import DecoyData, decoy_digits
from lvlm_va.propagation import Propagation, resolve_propagation

LINEAR = make_pipeline(StandardScaler(), LogisticRegression())
SEGMENTS = Propagation(LINEAR, 300, consensus=False)


@pytest.fixture(scope="module")
def digits() -> DecoyData:
    return decoy_digits("train", random_state=0)


@cache
def trained() -> nn.Module:
    """Return a net that has learned the decoy; none of the fits touches it."""
    digits = decoy_digits("train", random_state=0)
    clf = LVLMVAClassifier("mlp", epochs=12, batch_size=32, random_state=0)
    return clf.fit(digits.images, digits.labels).module_


def fitted(digits: DecoyData, **parameters: Any) -> LVLMVAClassifier:
    defaults = {
        "module": trained(),
        "critic": OracleCritic(digits.masks),
        "sampler": "random",
        "n_align": 40,
        "epochs": 0,
        "align_epochs": 1,
        "batch_size": 32,
        "propagate": SEGMENTS,
        "segmenter": "ppeps_wgm",
        "random_state": 0,
    }
    return LVLMVAClassifier(**(defaults | parameters)).fit(digits.images, digits.labels)


def precision_and_recall(clf: LVLMVAClassifier, digits: DecoyData) -> tuple[float, float]:
    """Of the masks, weighed by nothing: how many pixels are decoy, and in how many images some decoy is masked."""
    rows, masks = clf.propagated_.indices.numpy(), clf.propagated_.masks.numpy()
    hits = masks & digits.masks[rows]
    return hits.sum() / masks.sum(), hits.any((1, 2)).mean()


def test_masks_images_that_nobody_was_asked_about(digits: DecoyData) -> None:
    clf = fitted(digits)
    rows = clf.propagated_.indices.numpy()
    assert len(rows) == len(set(rows)) == 300
    np.testing.assert_array_equal(rows[:40], clf.alignment_set_)
    np.testing.assert_array_equal(clf.propagated_.masks[:40].any(), clf.masks_.any())
    assert clf.propagated_.p_spurious.shape[0] == 300
    assert 0.9 <= float(clf.propagated_.agreement) <= 1
    asked, found = fitted(digits, propagate=False), precision_and_recall(clf, digits)
    assert not hasattr(asked, "propagated_")
    true = digits.masks[asked.alignment_set_]
    assert found[0] >= 0.8 * (asked.masks_ & true).sum() / asked.masks_.sum()
    assert found[1] >= 0.6 * (asked.masks_ & true).any((1, 2)).mean()


def test_overrules_a_critic_that_errs_at_random(digits: DecoyData) -> None:
    noisy = OracleCritic(digits.masks, 0.75, 0)
    clf = fitted(digits, critic=noisy, n_align=120)
    right = digits.masks[clf.alignment_set_]
    corrected = clf.propagated_.masks[:120].numpy()
    assert (corrected & ~right).sum() < 0.5 * (clf.masks_ & ~right).sum()


def test_a_person_is_not_overruled(digits: DecoyData) -> None:
    clf = fitted(digits)
    found = clf.verdicts_.verdicts
    flipped = {"spurious": "relevant", "relevant": "spurious"}
    edits = [SegmentVerdict(v.image_id, v.segment, flipped[v.verdict]) for v in found[:6]]
    before = clf.propagated_
    clf.realign(VerdictTable(tuple(edits)))
    rows = [str(row) for row in clf.propagated_.indices.tolist()]
    for edit in edits:
        p = float(clf.propagated_.p_spurious[rows.index(edit.image_id), edit.segment - 1])
        assert p == (edit.verdict == "spurious")
    assert clf.propagated_ is not before


class Silent:
    """Is sure of nothing, or of the first images only."""

    name = "silent"

    def __init__(self, oracle: OracleCritic, n_sure: int) -> None:
        self.oracle, self.n_sure = oracle, n_sure

    def fingerprint(self) -> object:
        return self.n_sure

    def critique(self, requests: Any) -> list[Critique]:
        answers = []
        for request, answer in zip(requests, self.oracle.critique(requests), strict=True):
            sure = request.index < self.n_sure
            verdicts = [
                v if sure else SegmentVerdict(v.image_id, v.segment, "unsure") for v in answer.verdicts
            ]
            answers.append(Critique.from_verdicts(answer.image_id, verdicts))
        return answers


def test_unsure_segments_are_neither_learned_from_nor_masked(digits: DecoyData) -> None:
    clf = fitted(digits, critic=Silent(OracleCritic(digits.masks), 700))
    unsure = clf.alignment_set_ >= 700
    assert unsure.any()
    assert not unsure.all()
    assert not clf.propagated_.masks[:40][unsure].any()
    assert clf.propagated_.p_spurious[:40][unsure].isnan().all()
    assert clf.propagated_.masks[40:].any()


def test_says_when_there_is_nothing_to_learn_from(digits: DecoyData) -> None:
    needs = pytest.raises(ValueError, match="'propagate' argument needs verdicts to extend")
    with pytest.warns(UserWarning, match="are 'unsure'"), needs:
        fitted(digits, critic=Silent(OracleCritic(digits.masks), 0))


@pytest.mark.parametrize(("propagate", "expected"), [(True, 1078), (45, 45), (7, 40)])
def test_as_many_images_as_asked_for_but_all_that_were_critiqued(
    digits: DecoyData, propagate: bool | int, expected: int
) -> None:
    clf = fitted(digits, propagate=propagate, align_epochs=0)
    assert len(clf.propagated_.indices) == expected


@pytest.mark.parametrize("kind", [bool, np.bool_])
def test_numpys_booleans_are_booleans(kind: type) -> None:
    assert resolve_propagation(kind(False)) is None
    assert resolve_propagation(kind(True)) == Propagation()
    assert resolve_propagation(np.int64(7)) == Propagation(n_images=7)


def test_more_confidence_masks_less(digits: DecoyData) -> None:
    counts = [
        int(
            fitted(
                digits, propagate=replace(SEGMENTS, confidence=confidence), align_epochs=0
            ).propagated_.masks.sum()
        )
        for confidence in (0.5, 0.9)
    ]
    assert 0 < counts[1] < counts[0]


def test_is_kept_and_found_again(digits: DecoyData, tmp_path: Path) -> None:
    first = fitted(digits, run_dir=tmp_path)
    again = fitted(digits, run_dir=tmp_path)

    for name in ("indices", "p_spurious", "masks", "agreement"):
        np.testing.assert_array_equal(getattr(again.propagated_, name), getattr(first.propagated_, name))
    other = fitted(digits, run_dir=tmp_path, propagate=replace(SEGMENTS, n_images=200))
    assert len(other.propagated_.indices) == 200


def test_two_rounds_are_joined_and_survive_a_pickle(digits: DecoyData) -> None:
    clf = fitted(digits, n_rounds=2)
    assert len(clf.alignment_set_) == 80
    np.testing.assert_array_equal(clf.propagated_.indices[:80], clf.alignment_set_)
    masks = clf.propagated_.masks
    copy = pickle.loads(pickle.dumps(clf))
    copy.realign(VerdictTable(), digits.images, digits.labels)
    np.testing.assert_array_equal(copy.propagated_.masks, masks)


def test_a_persons_verdicts_hold_against_those_of_every_round(digits: DecoyData) -> None:
    clf = fitted(digits, n_rounds=2, propagate=replace(SEGMENTS, consensus=True))
    first = {str(row): i for i, row in enumerate(clf.alignment_set_[:40])}
    wrong = [v for v in clf.verdicts_.verdicts if v.image_id in first and v.verdict == "spurious"]
    clf.realign(VerdictTable(tuple(replace(v, verdict="relevant") for v in wrong)))
    masks, labels = clf.propagated_.masks, clf.segments_.labels
    for verdict in wrong:
        i = first[verdict.image_id]
        assert not masks[i][labels[i] == verdict.segment].any()
    assert masks.any()


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_set_after_fit_counts_when_aligned_again(
    digits: DecoyData, kept: bool, tmp_path: Path
) -> None:
    clf = fitted(digits, run_dir=tmp_path if kept else None)
    by_mixture = clf.propagated_.masks
    clf.set_params(segmenter="grid").realign(VerdictTable())
    assert not np.array_equal(clf.propagated_.masks, by_mixture)
    clf.set_params(propagate=False).realign(VerdictTable())
    assert not hasattr(clf, "propagated_")


def test_a_shortcut_that_stays_in_place_is_masked_where_it_shows_no_effect(digits: DecoyData) -> None:
    segments, found = fitted(digits), fitted(digits, propagate=replace(SEGMENTS, consensus="auto"))
    assert not segments.propagated_.consensus.any()
    assert found.propagated_.coverage >= 0.8
    consensus = found.propagated_.consensus.numpy()
    anywhere = digits.masks.any(0)  # all four corners
    assert (consensus & anywhere).sum() >= 0.9 * anywhere.sum()
    assert consensus.mean() <= 0.2
    masks = found.propagated_.masks.numpy()
    np.testing.assert_array_equal(masks, segments.propagated_.masks.numpy() | consensus)


def test_one_that_moves_about_is_not(digits: DecoyData) -> None:
    """Rolled at random, the decoy may lie anywhere."""
    rng, images, masks = np.random.default_rng(0), digits.images.copy(), digits.masks.copy()
    for i, (down, right) in enumerate(rng.integers(0, 28, (len(images), 2))):
        images[i] = np.roll(images[i], (down, right), (1, 2))
        masks[i] = np.roll(masks[i], (down, right), (0, 1))
    moved = DecoyData(images, digits.labels, masks, digits.groups)
    auto = fitted(
        moved,
        module="mlp",
        epochs=12,
        critic=OracleCritic(masks),
        propagate=replace(SEGMENTS, consensus="auto"),
    )
    assert not auto.propagated_.consensus.any()
    forced = fitted(
        moved,
        module=auto.unaligned_module_,
        critic=OracleCritic(masks),
        propagate=replace(SEGMENTS, consensus=True),
    )
    assert forced.propagated_.consensus.any()


def test_consensus_spares_what_a_person_or_doubt_spares(digits: DecoyData) -> None:
    clf = fitted(digits, propagate=replace(SEGMENTS, consensus=True))
    consensus = clf.propagated_.consensus.numpy()
    labels = clf.segments_.labels.numpy()
    inside = next(i for i in range(40) if clf.masks_[i][consensus].any())
    segment = int(labels[inside][clf.masks_[inside] & consensus][0])
    name = str(clf.alignment_set_[inside])
    clf.realign(VerdictTable((SegmentVerdict(name, segment, "relevant"),)))
    assert clf.propagated_.consensus.any()
    assert not clf.propagated_.masks[inside].numpy()[labels[inside] == segment].any()


@pytest.mark.parametrize("segmenter", ["grid", "slic"])
def test_any_segments_can_be_learned(digits: DecoyData, segmenter: str) -> None:
    clf = fitted(digits, segmenter=segmenter, align_epochs=0)
    assert float(clf.propagated_.agreement) >= 0.9
    assert precision_and_recall(clf, digits)[1] >= 0.3

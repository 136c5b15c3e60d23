"""Transplants against a classifier that looks at one pixel, and what the method tells of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.datasets import decoy_digits
from lvlm_va.interventions import (
    Changes,
    TransplantTrial,
    draw_partners,
    shifted_apart,
    transplant_accuracy,
    transplant_trial,
    transplanted,
)
from lvlm_va.metrics import PairedAccuracy
from lvlm_va.report import read_run


class LooksAt(nn.Module):
    """Class 1 where a pixel is bright."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.at = row, column
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.scale * (x[:, 0, self.at[0], self.at[1]] - 0.5)
        return torch.stack([-z, z], 1)


@pytest.fixture
def tagged() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return 40 images whose top left pixel tells the class, their classes, and masks of that pixel."""
    labels = torch.arange(40) % 2
    images = torch.full((40, 1, 32, 32), 0.2)
    images[:, 0, 20, 20] = images[:, 0, 0, 0] = labels.float()
    masks = torch.zeros(40, 32, 32, dtype=torch.bool)
    masks[:, :2, :2] = True
    return images, labels, masks


@pytest.mark.parametrize(("row", "spurious"), [(0, 40), (20, 0)])
def test_what_a_classifier_follows_changes_it(tagged, row, spurious) -> None:
    images, labels, masks = tagged
    modules = (LooksAt(row, row), LooksAt(10, 10))
    trial = transplant_trial(modules, images, labels, torch.arange(40), masks, batch_size=16, seed=0)
    assert trial is not None
    assert (trial.n_pairs, trial.before.spurious, trial.after) == (40, spurious, Changes(0, 0))
    # A pixel elsewhere now and then is the other one that differs.
    assert trial.before.elsewhere < 8


@pytest.mark.parametrize(("row", "expected"), [(0, 0.0), (20, 1.0)])
def test_accuracy_under_transplants_is_that_without_the_shortcut(tagged, row, expected) -> None:
    images, labels, masks = tagged

    def predict(given: torch.Tensor) -> torch.Tensor:
        return LooksAt(row, row)(given).argmax(1)

    half = torch.arange(0, 40, 3)
    assert transplant_accuracy(predict, images, labels, half, masks[half]) == expected
    assert transplant_accuracy(predict, images, labels, half, masks[half] & False) == 1
    one_class = labels[half] == 0  # images of class 0 have no donor, and stay as they are
    found = transplant_accuracy(predict, images, labels, half[one_class], masks[half][one_class])
    assert found == (0.5 if row == 0 else 1)


def test_without_masks_or_other_classes_there_is_no_trial(tagged) -> None:
    images, labels, masks = tagged
    modules = (LooksAt(0, 0), LooksAt(0, 0))
    for classes, where in ((labels, torch.zeros_like(masks)), (torch.zeros_like(labels), masks)):
        assert (
            transplant_trial(modules, images, classes, torch.arange(40), where, batch_size=16, seed=0) is None
        )


def test_inside_the_mask_stands_the_donor_and_far_away_the_image() -> None:
    images, donors = torch.zeros(2, 3, 64, 64), torch.ones(2, 3, 64, 64)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 10:20, 10:20] = True
    made = transplanted(images, donors, masks)
    assert (made[:, :, 10:20, 10:20] == 1).all()
    assert (made[:, :, 30:] == 0).all()
    edge = made[:, :, 9, 15]
    assert ((edge > 0) & (edge < 1)).all()


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=20),
    st.lists(st.integers(0, 3), min_size=1, max_size=20),
    st.integers(1, 4),
)
def test_partners_are_of_other_classes_and_evenly_drawn(labels, others, n_each) -> None:
    labels, others = torch.tensor(labels), torch.tensor(others)
    partners = draw_partners(labels, others, n_each, torch.Generator().manual_seed(0))
    assert partners.shape == (len(labels), n_each)
    for label in labels.unique():
        found, able = partners[labels == label].flatten(), (others != label).nonzero().flatten()
        if not len(able):
            assert (found == -1).all()
            continue
        assert (others[found] != label).all()
        times = torch.bincount(found, minlength=len(others))[able]
        assert times.max() - times.min() <= 1


def test_a_mask_elsewhere_has_its_shape_and_other_pixels() -> None:
    masks = torch.zeros(5, 28, 28, dtype=torch.bool)
    masks[:, 3:8, 20:25] = True
    elsewhere = shifted_apart(masks, torch.Generator().manual_seed(0))
    assert (elsewhere.flatten(1).sum(1) == 25).all()
    assert not (elsewhere & masks).any()
    for mask in elsewhere.numpy():
        rows, columns = np.nonzero(mask)
        assert (np.roll(mask, (-rows[0], -columns[0]), (0, 1)).sum()) == 25


@pytest.mark.parametrize(
    "damage",
    [
        {"n_pairs": 0},
        {"before": {"spurious": 5}},
        {"after": {"spurious": 50, "elsewhere": 0}},
        {"before": 3},
        {"right": {"n": 40, "before": 10, "after": 20, "lost": 11}},
    ],
)
def test_a_damaged_trial_is_refused(damage) -> None:
    trial = TransplantTrial(40, Changes(30, 2), Changes(1, 2), PairedAccuracy(40, 10, 39, 0))
    assert TransplantTrial.from_json(trial.to_json()) == trial
    with pytest.raises((KeyError, TypeError, ValueError)):
        TransplantTrial.from_json({**trial.to_json(), **damage})


def test_fit_tells_what_alignment_did_to_it(tmp_path) -> None:
    data = decoy_digits("train")
    X, y, masks = data.images[:300], data.labels[:300], data.masks[:300]

    def fit(**parameters) -> LVLMVAClassifier:
        defaults = {"n_align": 150, "sampler": "random", "n_references": 5, "epochs": 25, "batch_size": 32}
        return LVLMVAClassifier(
            "mlp", critic=OracleCritic(masks), random_state=0, **defaults | parameters
        ).fit(X, y)

    mended = fit(align_epochs=25, run_dir=tmp_path)
    trial = mended.aligned_.trial
    assert trial.before.spurious > 2 * trial.after.spurious
    assert read_run(tmp_path).trial == trial
    page = mended.report(tmp_path / "report.html").read_text()
    assert f"{trial.before.spurious} of {trial.n_pairs}" in page
    with pytest.warns(UserWarning, match="The classifier still follows it"):
        left = fit(align_epochs=1, rrr_strength=0.0)
    assert any("still follows it" in remark for remark in left.remarks_)

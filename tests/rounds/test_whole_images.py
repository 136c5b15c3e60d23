"""Fit tells of a shortcut that is all over the image, and of none where there is none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.data.training_data import TrainingData
from lvlm_va.report import read_run
from lvlm_va.rounds.whole_images import remarks_on_whole_images


class Mean(nn.Module):
    """Two findings: whether an image is bright, and whether its left half is the brighter one."""

    def __init__(self, told: int = 2) -> None:
        super().__init__()
        self.told, self.steep = told, nn.Parameter(torch.tensor(60.0))

    def forward(self, images):
        left, right = (half.mean((1, 2, 3)) for half in images.chunk(2, 3))
        return self.steep * torch.stack([(left + right) / 2 - 0.5, left - right], 1)[:, : self.told]


@pytest.fixture
def shades() -> tuple[np.ndarray, np.ndarray]:
    """Return 80 grey images (n, 1, 12, 12) and two findings, as `Mean` tells them."""
    rng = np.random.default_rng(0)
    y = np.stack([np.arange(80) % 2, np.arange(80) // 2 % 2], 1)
    X = rng.uniform(0.2, 0.3, (80, 1, 12, 12)) + 0.4 * y[:, :1, None, None]
    X[y[:, 1] == 1, :, :, :6] += 0.1
    X[y[:, 1] == 0, :, :, 6:] += 0.1
    return X.astype(np.float32), y


def fitted(X, y, module, **parameters):
    clf = LVLMVAClassifier(module, epochs=0, random_state=0, **parameters)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        clf.fit(X, y)
    return clf, [str(found.message) for found in told]


def test_fit_tells_that_masks_cannot_mend_brightness(shades, tmp_path):
    X, y = shades
    critic = RegionCritic({"irrelevant": [("corners", 0.3)]})
    parameters = {"critic": critic, "n_align": 4, "n_references": 2, "align_epochs": 0, "run_dir": tmp_path}
    clf, told = fitted(X, y[:, 0], Mean(1), **parameters)
    first = clf.remarks_[0]
    assert first in told
    assert "masks cannot mend it" in first
    assert "follows the bright" in first or "follows the background level" in first
    assert "augment" in first
    assert read_run(tmp_path).remarks == clf.remarks_


def test_without_a_critic_it_is_told_too(shades):
    X, y = shades
    assert any("masks cannot mend it" in found for found in fitted(X, y[:, 0], Mean(1))[1])


def test_nothing_is_told_of_a_net_that_looks_at_a_place(shades):
    X, y = shades

    class Side(Mean):
        def forward(self, images):
            return super().forward(images)[:, 1:]

    assert not [found for found in fitted(X, y[:, 1], Side())[1] if "masks" in found]


def test_of_several_findings_the_one_is_named(shades):
    X, y = shades
    clf, told = fitted(X, y, Mean())
    told = [found for found in told if "masks cannot mend it" in found]
    assert len(told) == 1
    assert f"({clf.classes_[0]})" in told[0]


def test_no_image_passes_the_module_where_nothing_tells_the_labels_apart(shades):
    X, _ = shades
    ids = tuple(map(str, range(80)))

    def fail(*_):
        raise AssertionError("a forward pass")

    module = Mean(1)
    module.register_forward_hook(fail)
    random = torch.from_numpy(np.random.default_rng(1).integers(0, 2, 80))
    told_by_brightness = torch.arange(80) % 2
    for images, labels in ((X, random), (X * 3, told_by_brightness), (X[:19], told_by_brightness[:19])):
        data = TrainingData(torch.from_numpy(images), labels, ("dark", "bright"), ids[: len(images)])
        assert remarks_on_whole_images(module, data, batch_size=16, seed=0) == ()

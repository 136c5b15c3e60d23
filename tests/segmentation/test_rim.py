"""Masks reach a rim beyond a spurious segment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lvlm_va.runs.directory import read_dataclass, write_dataclass
from lvlm_va.segmentation import Regions, Segmentation, concatenate_segmentations, spurious_masks


@pytest.fixture
def found() -> Segmentation:
    torch.manual_seed(0)
    blobs = torch.zeros(3, 1, 24, 20)
    blobs[:, 0, 2:7, 2:6], blobs[:2, 0, 2:7, 8:12], blobs[0, 0, 15:20, 10:19] = 1.0, 2.0, 1.5
    return Regions(sigma=0, mass=1.0).segment(blobs, blobs, 0)


@pytest.mark.parametrize("rim", [0, 1, 3])
def test_it_is_a_dilation_that_stops_at_other_segments(found, rim):
    spurious = torch.zeros(found.shares.shape, dtype=torch.bool)
    spurious[:, 0] = True
    masks = spurious_masks(replace(found, rim=rim), spurious, dtype=torch.bool).numpy()
    for mask, labels in zip(masks, found.labels.numpy(), strict=True):
        reached = ndimage.binary_dilation(labels == 1, np.ones((2 * rim + 1,) * 2))
        np.testing.assert_array_equal(mask, (labels == 1) | (reached & (labels == 0)))


def test_nothing_spurious_and_no_images(found):
    nothing = torch.zeros(found.shares.shape, dtype=torch.bool)
    wide = replace(found, rim=2)
    assert not spurious_masks(wide, nothing, dtype=torch.float64).any()
    none = torch.arange(0)
    assert spurious_masks(wide.select(none), nothing[none], dtype=torch.bool).shape == (0, 24, 20)


@pytest.mark.parametrize(("side", "rim"), [(8, 0), (28, 1), (64, 1), (128, 2), (224, 4)])
def test_it_follows_from_the_smoothing_unless_it_is_given(side, rim):
    attributions = torch.rand(1, 1, side, side)
    assert Regions().segment(attributions, attributions, 0).rim == rim
    assert Regions(rim=5).segment(attributions, attributions, 0).rim == 5


def test_it_is_kept(found, tmp_path):
    write_dataclass(tmp_path / "segment.npz", replace(found, rim=2))
    kept = read_dataclass(tmp_path / "segment.npz", Segmentation)
    assert (kept.rim, type(kept.rim)) == (2, int)
    assert concatenate_segmentations([kept, kept]).rim == kept.select(torch.arange(1)).rim == 2
    with pytest.raises(ValueError, match=r"one rim. Got \[0, 2\]"):
        concatenate_segmentations([replace(found, rim=0), kept])

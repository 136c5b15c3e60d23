"""Positive effect, and the errors that every segmenter shares."""

from __future__ import annotations

import pytest
import torch

from lvlm_va.segmentation import PPEPSWGM, SLIC, Grid, Segmenter, positive_effect
from lvlm_va.segmentation.effect import shares_of_effect


def test_positive_effect_is_the_positive_part_of_the_sum_over_channels():
    attributions = torch.tensor([[[[1.0, -3.0]], [[0.5, 1.0]]]], requires_grad=True)
    effect = positive_effect(attributions)
    assert effect.dtype == torch.float64
    assert not effect.requires_grad
    assert torch.equal(effect, torch.tensor([[[1.5, 0.0]]], dtype=torch.float64))


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1.0, 1e305])
def test_shares_of_effect_sum_to_one_at_any_scale(scale):
    effect = torch.tensor([[[1.0, 2.0], [0.0, 1.0]]], dtype=torch.float64) * scale
    expected = torch.tensor([[[0.25, 0.5], [0.0, 0.25]]], dtype=torch.float64)
    assert torch.equal(shares_of_effect(effect), expected)


def test_shares_of_no_effect_are_zero():
    assert torch.equal(shares_of_effect(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("segmenter", [PPEPSWGM(), Grid(), SLIC()], ids=lambda s: s.name)
class TestErrorsOfEverySegmenter:
    def test_nan_names_the_image(self, segmenter: Segmenter):
        attributions = torch.rand(4, 1, 5, 5)
        attributions[2, 0, 1, 1] = torch.nan
        with pytest.raises(ValueError, match=r"NaN or infinity in 1 of 4 images, the first of them image 2"):
            segmenter.segment(attributions, torch.zeros(4, 1, 5, 5), 0)

    def test_opposite_infinities_are_found(self, segmenter: Segmenter):
        attributions = torch.rand(1, 1, 5, 5)
        attributions[0, 0, 0, :2] = torch.tensor([torch.inf, -torch.inf])
        with pytest.raises(ValueError, match="must be finite"):
            segmenter.segment(attributions, torch.zeros(1, 1, 5, 5), 0)

    def test_shape(self, segmenter: Segmenter):
        with pytest.raises(
            ValueError, match=r"'attributions' argument must have shape \(n, C, H, W\).*\(5, 5\)"
        ):
            segmenter.segment(torch.rand(5, 5), torch.rand(5, 5), 0)

    def test_no_pixels(self, segmenter: Segmenter):
        with pytest.raises(ValueError, match=r"at least one channel and pixel"):
            segmenter.segment(torch.rand(1, 1, 0, 5), torch.rand(1, 1, 0, 5), 0)

    def test_integers(self, segmenter: Segmenter):
        with pytest.raises(TypeError, match=r"must be floating point. Got torch.int64 instead"):
            segmenter.segment(torch.ones(1, 1, 5, 5, dtype=torch.int64), torch.zeros(1, 1, 5, 5), 0)

    def test_arrays(self, segmenter: Segmenter):
        with pytest.raises(TypeError, match=r"must be a tensor. Got ndarray instead"):
            segmenter.segment(torch.rand(1, 1, 5, 5).numpy(), torch.zeros(1, 1, 5, 5), 0)

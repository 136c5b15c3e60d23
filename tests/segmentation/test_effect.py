"""Positive and absolute effect, and the errors that every segmenter shares."""

from __future__ import annotations

import pytest
import torch

from lvlm_va.segmentation import (
    PPEPSWGM,
    SLIC,
    Grid,
    Segmenter,
    concatenate_segmentations,
    pixel_effect,
    positive_effect,
)
from lvlm_va.segmentation.effect import shares_of_effect
from tests.segmentation.maps import single_pixels


def test_positive_effect_is_the_positive_part_of_the_sum_over_channels():
    attributions = torch.tensor([[[[1.0, -3.0]], [[0.5, 1.0]]]], requires_grad=True)
    effect = positive_effect(attributions)
    assert effect.dtype == torch.float64
    assert not effect.requires_grad
    assert torch.equal(effect, torch.tensor([[[1.5, 0.0]]], dtype=torch.float64))
    assert torch.equal(pixel_effect(attributions, "positive"), effect)


def test_absolute_effect_is_the_size_of_the_sum_over_channels():
    attributions = torch.tensor([[[[1.0, -3.0]], [[0.5, 1.0]]]])
    effect = pixel_effect(attributions, "absolute")
    assert torch.equal(effect, torch.tensor([[[1.5, 2.0]]], dtype=torch.float64))


@pytest.mark.parametrize("kind", [PPEPSWGM, Grid, SLIC])
def test_what_speaks_against_the_class_has_a_segment_in_the_absolute_effect_only(kind):
    attributions = single_pixels((8, 8), [(1, 1, 1.0), (6, 6, -3.0)])
    images = torch.zeros(1, 1, 8, 8)
    positive = kind().segment(attributions, images, 0)
    absolute = kind(effect="absolute").segment(attributions, images, 0)
    assert (positive.effect, absolute.effect) == ("positive", "absolute")
    assert [int(positive.labels[0, i, i]) for i in (1, 6)] == [1, 0]
    assert [int(absolute.labels[0, i, i]) for i in (1, 6)] == [2, 1]
    assert absolute.shares[0, :2].tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("kind", [PPEPSWGM, Grid, SLIC])
def test_unknown_effects_are_refused(kind):
    with pytest.raises(ValueError, match=r"'effect' argument must be one of .* Did you mean 'absolute'"):
        kind(effect="absolut")


def test_segments_of_different_effects_are_not_mixed():
    attributions = torch.rand(1, 1, 4, 4)
    parts = [
        Grid(effect=effect).segment(attributions, attributions, 0) for effect in ("positive", "absolute")
    ]
    with pytest.raises(ValueError, match=r"one kind of effect. Got \['absolute', 'positive'\] instead"):
        concatenate_segmentations(parts)
    assert parts[1].select(torch.tensor([0])).effect == "absolute"


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

"""What every segmenter promises, whatever the attributions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvlm_va.segmentation import PPEPSWGM, SAM, SLIC, Grid, Regions, Segmentation, Segmenter, pixel_effect
from tests.segmentation.maps import attribution_maps, noise
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]
SEGMENTERS = [
    PPEPSWGM(n_segments=3, n_restarts=2),
    PPEPSWGM(n_segments="bic", max_segments=3, n_restarts=1),
    PPEPSWGM(n_segments=4, min_share=0.0, tol=0.0, max_iter=3),
    PPEPSWGM(n_segments=4, min_share=0.3),
    PPEPSWGM(n_segments=3, n_restarts=1, effect="absolute"),
    Grid(n_rows=3, n_columns=2),
    Grid(n_rows=3, n_columns=2, effect="absolute"),
    SLIC(n_segments=4),
    SLIC(n_segments=4, effect="absolute"),
]
# They promise all but that only pixels with effect are labelled: they smooth it first.
REGIONS = [Regions(n_segments=4), Regions(sigma=1.0, effect="absolute"), Regions(sigma=2.0, max_segments=3)]
properties = settings(deadline=None, derandomize=True, max_examples=25)


@pytest.fixture(scope="module", params=[*SEGMENTERS, *REGIONS, SAM], ids=repr)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return made(request)


@pytest.fixture(scope="module", params=[*SEGMENTERS, SAM], ids=repr)
def cutter(request: pytest.FixtureRequest) -> Segmenter:
    """A segmenter whose segments are of pixels with effect."""
    return made(request)


def made(request: pytest.FixtureRequest) -> Segmenter:
    if request.param is not SAM:
        return request.param
    lenient = {"stability_score_thresh": 0.0, "box_nms_thresh": 1.0}  # lets masks of random weights pass
    return SAM(request.getfixturevalue("tiny_sam"), points_per_side=2, **lenient)


def segment(segmenter: Segmenter, attributions: Tensor, seed: int = 0) -> Segmentation:
    """Segment attributions of images that vary, so that SLIC has something to look at."""
    _, channels, height, width = attributions.shape
    image = torch.linspace(0, 1, height * width).reshape(height, width)
    return segmenter.segment(attributions, image.expand(len(attributions), channels, height, width), seed)


def effect_of_segments(attributions: Tensor, found: Segmentation) -> Tensor:
    """Return the share of effect in the pixels of each segment, (n, J)."""
    effect = pixel_effect(attributions, found.effect)
    numbers = range(1, found.shares.shape[1] + 1)
    shares = torch.stack([(effect * (found.labels == j)).sum((1, 2)) for j in numbers], 1)
    total = effect.sum((1, 2))[:, None]
    return shares / total.where(total > 0, 1)


@given(attributions=attribution_maps)
@properties
def test_labels_shares_and_moments_fit_together(cutter: Segmenter, attributions: Tensor):
    segmenter = cutter
    before = attributions.clone()
    found = segment(segmenter, attributions)
    effect = pixel_effect(attributions, segmenter.effect)
    n, width = found.shares.shape
    present = torch.arange(width) < found.n_segments[:, None]
    assert torch.equal(attributions, before)
    assert found.effect == segmenter.effect
    assert found.labels.shape == effect.shape
    assert found.labels.dtype == found.n_segments.dtype == torch.int64
    assert found.means.shape == (n, width, 2)
    assert found.covariances.shape == (n, width, 2, 2)
    assert found.shares.dtype == found.means.dtype == found.covariances.dtype == torch.float64
    assert torch.equal(found.shares > 0, present)
    assert (found.shares[:, :-1] >= found.shares[:, 1:]).all()
    assert (found.shares.sum(1) <= 1 + RTOL).all()
    assert torch.equal(found.means.isnan().any(2), ~present)
    assert torch.equal(found.covariances.isnan().any(3).any(2), ~present)
    assert ((found.means[present] >= 0) & (found.means[present] <= 1)).all()
    assert (torch.linalg.eigvalsh(found.covariances[present]) >= -ATOL).all()
    assert (found.labels[effect == 0] == 0).all()
    assert torch.equal(found.n_segments == 0, effect.sum((1, 2)) == 0)
    for labels, count in zip(found.labels, found.n_segments.tolist(), strict=True):
        assert set(labels.unique().tolist()) | {0} == set(range(count + 1))
    strong = effect_of_segments(attributions, found)[present]
    assert (strong >= segmenter.min_share - RTOL).all()


@given(attributions=attribution_maps, seed=st.integers(0, 2**40))
@properties
def test_an_image_does_not_depend_on_its_batch_mates(segmenter: Segmenter, attributions: Tensor, seed: int):
    together = segment(segmenter, attributions, seed)
    for i in range(len(attributions)):
        alone = segment(segmenter, attributions[i : i + 1], seed)
        assert torch.equal(alone.labels[0], together.labels[i])
        for one, many in zip(moments(alone), moments(together), strict=True):
            torch.testing.assert_close(one[0], many[i], rtol=RTOL, atol=ATOL, equal_nan=True)


@given(attributions=attribution_maps, exponent=st.integers(-200, 200))
@properties
def test_the_scale_of_attributions_does_not_matter(segmenter: Segmenter, attributions: Tensor, exponent: int):
    found, scaled = segment(segmenter, attributions), segment(segmenter, attributions * 2.0**exponent)
    assert torch.equal(found.labels, scaled.labels)
    assert torch.equal(found.shares, scaled.shares)


def test_no_images(segmenter: Segmenter):
    found = segment(segmenter, torch.zeros(0, 1, 6, 5))
    assert found.labels.shape == (0, 6, 5)
    assert found.n_segments.shape == (0,)


def test_chunks_change_nothing(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch):
    attributions = noise(3, 5, 1, 9, 8, density=0.5)
    whole = segment(segmenter, attributions)
    monkeypatch.setattr("lvlm_va.segmentation.cells._CHUNK_ELEMENTS", 2 * 9 * 8 * whole.shares.shape[1])
    chunked = segment(segmenter, attributions)
    assert torch.equal(whole.labels, chunked.labels)
    for one, other in zip(moments(whole), moments(chunked), strict=True):
        torch.testing.assert_close(one, other, rtol=RTOL, atol=ATOL, equal_nan=True)


def test_float32_and_requires_grad(segmenter: Segmenter):
    attributions = noise(0, 2, 3, 8, 8, density=0.5).float()
    found = segment(segmenter, attributions.requires_grad_())
    assert torch.equal(found.labels, segment(segmenter, attributions.detach().double()).labels)
    assert not found.shares.requires_grad


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_finds_the_same_segments(segmenter: Segmenter):
    attributions = noise(7, 4, 3, 20, 16, density=0.5)
    found, expected = segment(segmenter, attributions.cuda()), segment(segmenter, attributions)
    assert torch.equal(found.labels.cpu(), expected.labels)
    for one, other in zip(moments(found), moments(expected), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=RTOL, atol=ATOL, equal_nan=True)


def moments(found: Segmentation) -> tuple[Tensor, Tensor, Tensor]:
    return found.shares, found.means, found.covariances

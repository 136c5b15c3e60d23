"""The steps of `Regions` against scipy, and against what follows from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lvlm_va.segmentation.pieces import connected_pieces, numbered, numbered_anywhere
from lvlm_va.segmentation.shapes import closed, densest, opened
from lvlm_va.segmentation.smoothing import in_blocks, smoothed
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]
properties = settings(deadline=None, derandomize=True, max_examples=40)


def random_labels(seed: int, n: int, height: int, width: int, n_regions: int) -> Tensor:
    """Return (n, H, W) labels in lumps of a few pixels."""
    rng = np.random.default_rng(seed)
    fine = rng.standard_normal((n, n_regions + 1, height, width))
    return torch.from_numpy(ndimage.gaussian_filter(fine, (0, 0, 0.8, 0.8)).argmax(1))


label_maps = st.builds(
    random_labels,
    seed=st.integers(0, 10**6),
    n=st.integers(0, 3),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    n_regions=st.sampled_from([1, 3, 8, 11]),
)


def disc(radius: int) -> NDArray[np.bool_]:
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return down**2 + right**2 <= (radius + 0.5) ** 2


@given(labels=label_maps, radius=st.integers(0, 3))
@properties
def test_closed_is_a_closing_of_each_region(labels: Tensor, radius: int):
    found = closed(labels, 11, radius)
    for before, after in zip(labels.numpy(), found.numpy(), strict=True):
        expected = before.copy()
        for region in range(1, 12):
            wide = ndimage.binary_closing(np.pad(before == region, radius + 1), disc(radius))
            inside = wide[radius + 1 :, radius + 1 :][: before.shape[0], : before.shape[1]]
            expected[inside & (expected == 0)] = region
        np.testing.assert_array_equal(after, expected)


@given(labels=label_maps, width=st.integers(0, 3))
@properties
def test_opened_is_an_opening_of_each_region(labels: Tensor, width: int):
    found = opened(labels, 11, width)
    if min(labels.shape[1:]) <= width:
        assert torch.equal(found, labels)
        return
    for before, after in zip(labels.numpy(), found.numpy(), strict=True):
        for region in range(1, 12):
            expected = ndimage.binary_opening(before == region, np.ones((width + 1, width + 1)))
            np.testing.assert_array_equal(after == region, expected if expected.any() else before == region)


@given(labels=label_maps, mass=st.floats(0.05, 1), seed=st.integers(0, 100))
@properties
def test_the_densest_part_holds_the_mass_and_no_smaller_one_does(labels: Tensor, mass: float, seed: int):
    effect = torch.rand(labels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    density = (effect * 8).round() / 8  # with ties
    found = densest(effect, density, labels, 11, mass)
    for i, j in np.ndindex(len(labels), 11):
        region, kept = labels[i] == j + 1, found[i] == j + 1
        assert (kept <= region).all()
        wanted = mass * effect[i][region & (density[i] > 0)].sum()
        if not kept.any():
            assert wanted <= effect[i][region & (density[i] == 0)].sum() + RTOL
            continue
        least = density[i][kept].min()
        assert torch.equal(kept, region & (density[i] >= least))
        assert effect[i][kept].sum() >= wanted * (1 - RTOL)
        assert effect[i][kept & (density[i] > least)].sum() < mass * effect[i][region].sum()


@given(labels=label_maps, min_share=st.sampled_from([0.0, 0.05, 0.6]), most=st.integers(1, 4))
@properties
def test_pieces_are_the_strongest_connected_ones(labels: Tensor, min_share: float, most: int):
    effect = torch.rand(labels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    effect /= effect.sum((1, 2), keepdim=True)
    found = connected_pieces(effect, labels, 11, min_share, most)
    for share, before, after in zip(effect.numpy(), labels.numpy(), found.numpy(), strict=True):
        pieces = []
        for region in range(1, 12):
            parts, n_pieces = ndimage.label(before == region)
            pieces += [(share[parts == k].sum(), parts == k) for k in range(1, n_pieces + 1)]
        pieces.sort(key=lambda piece: -piece[0])
        kept = [piece for piece in pieces[:most] if piece[0] >= min_share] or pieces[:1]
        expected = np.zeros_like(before)
        for number, (_, inside) in enumerate(kept, start=1):
            expected[inside] = number
        np.testing.assert_array_equal(after, expected)


@given(labels=label_maps)
@properties
def test_pieces_are_numbered_alike_on_every_device(labels: Tensor):
    assert torch.equal(numbered_anywhere(labels, 11), numbered(labels, 11))


def test_a_piece_that_winds_through_the_image_is_one():
    labels = torch.zeros(1, 31, 31, dtype=torch.int64)
    labels[:, ::2] = 1
    labels[0, 1::4, -1] = labels[0, 3::4, 0] = 1
    assert torch.equal(numbered_anywhere(labels, 1), labels)


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("shape", [(1, 9), (5, 1), (7, 12), (2, 3)])
def test_smoothing_is_scipys(sigma: float, shape: tuple[int, int]):
    maps = torch.from_numpy(np.random.default_rng(0).standard_normal((4, *shape)))
    expected = maps.numpy()
    if int(3 * sigma + 0.5):
        expected = ndimage.gaussian_filter(maps.numpy(), (0, sigma, sigma), mode="reflect", truncate=3.0)
    np.testing.assert_allclose(smoothed(maps, sigma).numpy(), expected, rtol=RTOL, atol=ATOL)
    for dim in (1, 2):
        assert torch.equal(smoothed(maps.flip(dim), sigma), smoothed(maps, sigma).flip(dim))


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_keep_every_bit_of_effect_in_its_place(block: int):
    maps = torch.zeros(1, 7, 8, dtype=torch.float64)
    maps[0, 6, 4] = 1.0
    blocks, extent = in_blocks(maps, block)
    assert blocks.shape == (1, -(-7 // block), -(-8 // block))
    assert blocks.nonzero().tolist() == [[0, 6 // block, 4 // block]]
    centre = (torch.tensor([6 // block, 4 // block]) + 0.5) / torch.tensor(blocks.shape[1:]) * extent
    assert ((centre * torch.tensor([7, 8]) - torch.tensor([6.5, 4.5])).abs() <= block / 2).all()

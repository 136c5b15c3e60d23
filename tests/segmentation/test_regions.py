"""Segments that a person would circle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from lvlm_va.segmentation import PPEPSWGM, Regions, Segmentation, resolve_segmenter
from tests.segmentation.maps import attribution_maps, blobs, noise
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]
properties = settings(deadline=None, derandomize=True, max_examples=40)
wider_maps = st.one_of(
    attribution_maps,
    st.builds(
        noise,
        seed=st.integers(0, 10**6),
        n=st.just(2),
        channels=st.just(1),
        height=st.integers(14, 40),
        width=st.integers(14, 40),
        density=st.just(1.0),
    ),
)


def segment(attributions: Tensor, **parameters: object) -> Segmentation:
    return Regions(**parameters).segment(attributions, attributions, seed=0)  # type: ignore[arg-type]


@given(attributions=wider_maps, effect=st.sampled_from(["positive", "absolute"]))
@properties
def test_regions_are_connected_disjoint_and_hold_their_shares(attributions: Tensor, effect: str):
    before = attributions.clone()
    found = segment(attributions, effect=effect, n_segments=5)
    width = found.shares.shape[1]
    present = torch.arange(width) < found.n_segments[:, None]
    assert torch.equal(attributions, before)
    assert width == 5
    assert found.effect == effect
    assert torch.equal(found.shares > 0, present)
    assert (found.shares[:, :-1] >= found.shares[:, 1:]).all()
    assert (found.shares.sum(1) <= 1 + RTOL).all()
    assert ((found.outside - (1 - found.shares.sum(1))).abs() <= RTOL).all()
    assert torch.equal(found.means.isnan().any(2), ~present)
    assert (torch.linalg.eigvalsh(found.covariances[present]) >= -ATOL).all()
    for labels, count in zip(found.labels.numpy(), found.n_segments.tolist(), strict=True):
        assert set(np.unique(labels)) | {0} == set(range(count + 1))
        for region in range(1, count + 1):
            assert ndimage.label(labels == region)[1] == 1
    # The weak are dropped, but for the strongest.
    assert (found.shares[:, 1:][present[:, 1:]] >= 0.03).all()


@given(attributions=wider_maps, dim=st.sampled_from([2, 3]))
@properties
def test_a_mirrored_map_has_mirrored_regions(attributions: Tensor, dim: int):
    found, mirrored = segment(attributions), segment(attributions.flip(dim))
    assert torch.equal(mirrored.labels, found.labels.flip(dim - 1))
    torch.testing.assert_close(mirrored.shares, found.shares, rtol=RTOL, atol=ATOL)


def test_the_seed_does_not_matter():
    attributions = noise(0, 3, 1, 30, 30, 1.0)
    one, other = (Regions().segment(attributions, attributions, seed) for seed in (0, 7))
    assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("side", [28, 64, 150])
def test_two_blobs_are_two_regions(side: int):
    unit = side / 64
    found = segment(
        blobs((side, side), (16 * unit, 16 * unit, 4 * unit, 0.7), (46 * unit, 44 * unit, 4 * unit, 0.3))
    )
    assert found.n_segments.tolist() == [2]
    assert found.labels[0, int(16 * unit), int(16 * unit)] == 1
    assert found.labels[0, int(46 * unit), int(44 * unit)] == 2
    # 80 % of each, and what closing adds.
    assert found.shares[0, 0] == pytest.approx(0.7 * 0.8, abs=0.03)
    assert found.shares[0, 1] == pytest.approx(0.3 * 0.8, abs=0.03)
    assert found.outside[0] == pytest.approx(0.2, abs=0.04)


def test_a_letter_beside_a_joint_is_a_region_of_its_own():
    attributions, letter = letter_and_joint(), torch.zeros(64, 64, dtype=torch.bool)
    letter[6:16, 46:56] = True
    found = segment(attributions)
    number = int(found.labels[0, 10, 47])
    assert number > 0
    inside = found.labels[0] == number
    assert (inside & ~letter).sum() <= 0.3 * inside.sum()
    assert found.n_segments <= 4


def letter_and_joint() -> Tensor:
    """Return a map (1, 1, 64, 64): an L in the corner, a joint across the middle, and dust of either sign all over."""
    total = torch.zeros(64, 64, dtype=torch.float64)
    total[6:16, 46:49] = total[13:16, 46:54] = 1.0
    total[30:36, 10:54] = 0.5
    sign = 1 - 2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2)
    return (total + 0.8 * sign)[None, None]


def test_dust_of_alternating_sign_cancels():
    attributions = letter_and_joint()
    found, dust = segment(attributions), PPEPSWGM().segment(attributions, attributions, 0)
    empty = torch.zeros(64, 64, dtype=torch.bool)
    empty[40:, :] = True
    assert not found.labels[0][empty].any()
    assert (dust.labels[0][empty] > 0).double().mean() > 0.4


def test_what_speaks_against_the_class_counts_as_absolute_effect_only():
    attributions = -blobs((32, 32), (10, 10, 3, 1.0))
    assert segment(attributions).n_segments.tolist() == [0]
    assert segment(attributions, effect="absolute").n_segments.tolist() == [1]


def test_no_effect():
    found = segment(torch.zeros(2, 3, 20, 20))
    assert found.n_segments.tolist() == [0, 0]
    assert not found.labels.any()
    assert found.outside.tolist() == [1.0, 1.0]


def test_the_strongest_region_stays_however_weak():
    found = segment(noise(3, 2, 1, 30, 30, 1.0), min_share=0.9)
    assert found.n_segments.tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (2, 300), (3, 3)])
@pytest.mark.parametrize("sigma", [None, 2.0])
def test_narrow_images(shape: tuple[int, int], sigma: float | None):
    found = segment(noise(1, 3, 1, *shape, 1.0).abs(), sigma=sigma)
    assert (found.n_segments >= 1).all()


def test_tiny_images_are_not_smoothed():
    attributions = noise(2, 4, 1, 8, 8, 0.3)
    found = segment(attributions, mass=1.0, min_share=0.0, n_segments=60)
    assert torch.equal(found.labels > 0, attributions[:, 0] > 0)
    torch.testing.assert_close(found.outside, torch.zeros(4, dtype=torch.float64), rtol=0, atol=ATOL)


def test_a_larger_mass_leaves_less_outside():
    attributions = noise(4, 2, 1, 40, 40, 1.0)
    outside = [
        segment(attributions, mass=mass, min_share=0.0, n_segments=50).outside for mass in (0.5, 0.8, 0.99)
    ]
    assert (outside[0] > outside[1]).all()
    assert (outside[1] > outside[2]).all()


def test_it_goes_by_its_name():
    assert resolve_segmenter("regions") == Regions()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"sigma": -1}, ValueError, "'sigma' argument must lie in"),
        ({"sigma": "1"}, TypeError, "'sigma' argument must be a number"),
        ({"mass": 0}, ValueError, r"'mass' argument must lie in \(0, 1\]. Got 0"),
        ({"mass": 1.1}, ValueError, r"'mass' argument must lie in \(0, 1\]. Got 1.1"),
        ({"mass": None}, TypeError, "'mass' argument must be a number"),
        ({"n_segments": 0}, ValueError, "'n_segments' argument must be at least 1"),
        ({"max_segments": 63}, ValueError, "'max_segments' argument must be at most 62. Got 63"),
        ({"max_segments": 2.0}, TypeError, "'max_segments' argument must be an integer"),
        ({"max_iter": 0}, ValueError, "'max_iter' argument must be at least 1"),
        ({"tol": -1.0}, ValueError, "'tol' argument must lie in"),
        ({"min_share": 1.0}, ValueError, "'min_share' argument must lie in"),
        ({"effect": "both"}, ValueError, "'effect'"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, object], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        Regions(**parameters)  # type: ignore[arg-type]


def test_attributions_are_checked():
    bad = torch.zeros(3, 1, 16, 16)
    bad[1, 0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 3 images, the first of them image 1"):
        segment(bad)
    with pytest.raises(TypeError, match="'attributions' argument must be a tensor"):
        Regions().segment(np.zeros((1, 1, 4, 4)), torch.zeros(1, 1, 4, 4), 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'attributions' argument must have shape"):
        segment(torch.zeros(1, 4, 4))

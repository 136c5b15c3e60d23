"""PPEPS-WGM finds the blobs that are there, and its shares are what the theory says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from lvlm_va.segmentation import PPEPSWGM, Segmentation
from lvlm_va.segmentation.effect import positive_effect, shares_of_effect
from lvlm_va.segmentation.starts import draw_uniforms
from tests.segmentation.maps import blobs, noise, single_pixels
from tests.tolerances import BLOB_MOMENTS, OP

RTOL, ATOL = OP[torch.float64]
LEFT, RIGHT, LOW = (9.0, 8.0, 2.0, 0.5), (12.0, 30.0, 3.0, 0.3), (40.0, 15.0, 2.5, 0.2)
SHAPE = (50, 40)


def segment(segmenter: PPEPSWGM, attributions: Tensor, seed: int = 0) -> Segmentation:
    return segmenter.segment(attributions, torch.zeros_like(attributions), seed)


def responsibilities(attributions: Tensor, found: Segmentation) -> tuple[Tensor, Tensor]:
    """Return p (M,) and r (M, J) of the first image, from the returned mixture."""
    p = shares_of_effect(positive_effect(attributions))[0]
    height, width = p.shape
    count = int(found.n_segments[0])
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    density = MultivariateNormal(found.means[0, :count], found.covariances[0, :count])
    log_joint = density.log_prob(torch.cartesian_prod(rows, columns)[:, None]) + found.shares[0, :count].log()
    return p.flatten(), log_joint.softmax(1)


@pytest.mark.parametrize("seed", range(4))
def test_two_blobs_are_two_segments(seed):
    found = segment(PPEPSWGM(n_segments=2), blobs(SHAPE, LEFT, RIGHT), seed)
    share = torch.tensor([0.5, 0.3], dtype=torch.float64) / 0.8
    torch.testing.assert_close(found.shares[0], share, **BLOB_MOMENTS)
    centres = torch.tensor([[9.5 / 50, 8.5 / 40], [12.5 / 50, 30.5 / 40]], dtype=torch.float64)
    torch.testing.assert_close(found.means[0], centres, **BLOB_MOMENTS)
    variances = torch.tensor([[4 / 50**2, 4 / 40**2], [9 / 50**2, 9 / 40**2]], dtype=torch.float64)
    torch.testing.assert_close(found.covariances[0], torch.diag_embed(variances), **BLOB_MOMENTS)
    assert found.labels[0, 9, 8] == 1
    assert found.labels[0, 12, 30] == 2


@pytest.mark.parametrize("parts", [(LEFT,), (LEFT, RIGHT), (LEFT, RIGHT, LOW)], ids=len)
@pytest.mark.parametrize("seed", [0, 1])
def test_bic_counts_the_blobs(parts, seed):
    found = segment(PPEPSWGM(n_segments="bic", max_segments=6), blobs(SHAPE, *parts), seed)
    assert found.n_segments.tolist() == [len(parts)]
    assert found.shares.shape == (1, 6)


@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.2, 1.0]))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_shares_are_the_effect_of_the_components_at_convergence(seed, density):
    attributions = noise(seed, 1, 1, 12, 9, density)
    segmenter = PPEPSWGM(n_segments=3, n_restarts=1, tol=0.0, max_iter=3000, min_share=0.0)
    found = segment(segmenter, attributions)
    p, r = responsibilities(attributions, found)
    count = r.shape[1]
    torch.testing.assert_close(p @ r, found.shares[0, :count], rtol=1e-6, atol=1e-6)
    # A pixel given wholly to one segment moves the effect that its other responsibilities held.
    labels = found.labels[0].flatten()
    hard = torch.stack([p[labels == j].sum() for j in range(1, count + 1)])
    moved = (p * (1 - r.max(1).values)).sum()
    assert (hard - found.shares[0, :count]).abs().max() <= moved + 1e-6
    support = p > 0
    assert (r.gather(1, (labels - 1).clamp_min(0)[:, None])[:, 0] >= r.max(1).values - 1e-9)[support].all()


@pytest.mark.parametrize("flip", [[], [2], [3], [2, 3]], ids=str)
@pytest.mark.parametrize("transpose", [False, True])
def test_segments_turn_with_the_map(flip, transpose):
    attributions = blobs((41, 41), (9, 8, 2, 0.5), (12, 30, 3, 0.3), (33, 15, 2.5, 0.2))
    turned = attributions.flip(flip).transpose(2, 3) if transpose else attributions.flip(flip)
    labels = segment(PPEPSWGM(n_segments=3), attributions).labels[:, None]
    expected = labels.flip(flip).transpose(2, 3) if transpose else labels.flip(flip)
    assert torch.equal(segment(PPEPSWGM(n_segments=3), turned).labels, expected[:, 0])


def test_no_positive_effect_is_no_segment():
    attributions = torch.cat([torch.zeros(1, 1, 7, 5), -torch.ones(1, 1, 7, 5), torch.ones(1, 1, 7, 5)])
    for segmenter in (PPEPSWGM(), PPEPSWGM(n_segments="bic")):
        found = segment(segmenter, attributions)
        assert found.n_segments[:2].tolist() == [0, 0]
        assert found.n_segments[2] > 0
        assert (found.shares[:2] == 0).all()
        assert (found.labels[:2] == 0).all()


@pytest.mark.parametrize("n_segments", [1, 5, "bic"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 5)])
def test_a_single_pixel_is_one_segment(n_segments, shape):
    row, column = shape[0] - 1, shape[1] // 2
    found = segment(PPEPSWGM(n_segments), single_pixels(shape, [(row, column, 0.3)]))
    assert found.n_segments.tolist() == [1]
    assert found.shares[0, 0] == 1
    assert found.labels.sum() == found.labels[0, row, column] == 1
    mean = torch.tensor([(row + 0.5) / shape[0], (column + 0.5) / shape[1]], dtype=torch.float64)
    torch.testing.assert_close(found.means[0, 0], mean, rtol=RTOL, atol=ATOL)
    pixel = torch.tensor([1 / (12 * shape[0] ** 2), 1 / (12 * shape[1] ** 2)], dtype=torch.float64).diag()
    torch.testing.assert_close(found.covariances[0, 0], pixel, rtol=RTOL, atol=ATOL)


def test_fewer_pixels_than_components_give_fewer_segments():
    attributions = single_pixels((20, 20), [(2, 3, 5.0), (17, 4, 3.0), (10, 16, 2.0)])
    found = segment(PPEPSWGM(n_segments=5), attributions)
    torch.testing.assert_close(
        found.shares[0], torch.tensor([0.5, 0.3, 0.2, 0, 0], dtype=torch.float64), rtol=RTOL, atol=ATOL
    )
    assert [int(found.labels[0, r, c]) for r, c in [(2, 3), (17, 4), (10, 16)]] == [1, 2, 3]


def test_a_weak_component_gives_its_pixels_to_the_others():
    attributions = blobs(SHAPE, LEFT, RIGHT, (40.0, 15.0, 1.0, 0.01))
    kept = segment(PPEPSWGM(n_segments=3, min_share=0.0), attributions)
    dropped = segment(PPEPSWGM(n_segments=3, min_share=0.05), attributions)
    assert kept.n_segments.tolist() == [3]
    assert dropped.n_segments.tolist() == [2]
    assert torch.equal(dropped.labels > 0, attributions[:, 0] > 0)
    assert float(dropped.shares.sum()) == pytest.approx(1, rel=RTOL)


def test_more_starts_never_fit_worse():
    p = shares_of_effect(positive_effect(noise(5, 4, 1, 20, 20, density=0.3)))
    segmenter = PPEPSWGM(n_segments=4)
    uniforms = draw_uniforms(0, n_restarts=6, n_components=4)
    one, six = segmenter._best_fit(p, uniforms[:1]), segmenter._best_fit(p, uniforms)
    assert (six.log_likelihood >= one.log_likelihood).all()


def test_the_covariance_floor_holds():
    floor = (0.01, 0.02)
    found = segment(PPEPSWGM(n_segments=2, covariance_floor=floor), blobs(SHAPE, LEFT, RIGHT))
    excess = found.covariances[0] - torch.tensor(floor, dtype=torch.float64).diag()
    assert (torch.linalg.eigvalsh(excess) >= -ATOL).all()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_segments": 0}, ValueError, "'n_segments' argument must be at least 1. Got 0 instead"),
        ({"n_segments": 2.0}, TypeError, "'n_segments' argument must be an integer. Got 2.0 instead"),
        ({"n_segments": True}, TypeError, "'n_segments' argument must be an integer"),
        ({"n_segments": "bicc"}, ValueError, "Did you mean 'bic'"),
        ({"max_segments": 0}, ValueError, "'max_segments'"),
        ({"n_restarts": 0}, ValueError, "'n_restarts'"),
        ({"max_iter": 0}, ValueError, "'max_iter'"),
        ({"tol": -1.0}, ValueError, "'tol'"),
        ({"tol": "small"}, TypeError, "'tol' argument must be a number"),
        ({"min_share": 1.0}, ValueError, r"'min_share' argument must lie in \[0, 1\)"),
        ({"min_share": float("nan")}, ValueError, "'min_share'"),
        ({"covariance_floor": 0.1}, TypeError, "'covariance_floor' argument must be a pair"),
        ({"covariance_floor": (0.1, -0.1)}, ValueError, "'covariance_floor'"),
    ],
)
def test_parameters_are_checked(parameters, error, message):
    with pytest.raises(error, match=message):
        PPEPSWGM(**parameters)


def test_seed_is_checked():
    with pytest.raises(TypeError, match=r"'seed' argument must be an integer. Got None instead"):
        segment(PPEPSWGM(), torch.ones(1, 1, 3, 3), None)
    with pytest.raises(ValueError, match=r"'seed' argument must be at least 0. Got -1 instead"):
        segment(PPEPSWGM(), torch.ones(1, 1, 3, 3), -1)

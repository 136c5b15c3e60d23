"""Mixtures whose number of components is found by merging."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lvlm_va.ops import EMResult, ppeps_em
from lvlm_va.segmentation import shares_of_effect
from lvlm_va.segmentation.bic import bic
from lvlm_va.segmentation.fewest_gaussians import fit_fewest_gaussians, merge_cheapest
from lvlm_va.segmentation.starts import draw_uniforms, heaviest_farthest, kmeans_plus_plus
from tests.segmentation.maps import blobs, noise
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]
SHAPE = (40, 40)


def weights(*parts: tuple[float, float, float, float]) -> Tensor:
    return shares_of_effect(blobs(SHAPE, *parts)[:, 0])


def fitted(maps: Tensor, n_components: int) -> EMResult:
    return ppeps_em(maps, *heaviest_farthest(maps, n_components))


def test_centres_are_the_heaviest_then_the_farthest():
    maps = torch.zeros(1, 9, 9, dtype=torch.float64)
    maps[0, 4, 4], maps[0, 0, 0], maps[0, 8, 8], maps[0, 5, 4] = 4.0, 1.0, 2.0, 3.0
    means, _, shares = heaviest_farthest(maps, 4)
    assert shares[0].tolist() == pytest.approx([4, 2, 1, 3])
    assert (means[0] * 9 - 0.5).tolist() == [
        pytest.approx(place) for place in [[4, 4], [8, 8], [0, 0], [5, 4]]
    ]
    assert (heaviest_farthest(maps, 6)[2][0, 4:] == 0).all()


@pytest.mark.parametrize(
    "parts",
    [
        [(20, 20, 3, 1)],
        [(8, 8, 2, 0.5), (30, 30, 3, 0.5)],
        [(6, 6, 1.5, 0.2), (30, 8, 2, 0.3), (18, 30, 3, 0.5)],
    ],
)
def test_it_counts_the_blobs(parts: list[tuple[float, float, float, float]]):
    means, _, shares = fit_fewest_gaussians(weights(*parts), 6, max_iter=100, tol=1e-6)
    present = shares[0] > 0
    assert int(present.sum()) == len(parts)
    found = sorted(zip(means[0, present].tolist(), shares[0, present].tolist(), strict=True))
    for (centre, share), (row, column, _, true_share) in zip(found, sorted(parts), strict=True):
        assert centre == pytest.approx([(row + 0.5) / 40, (column + 0.5) / 40], abs=2e-3)
        assert share == pytest.approx(true_share, abs=2e-3)


def test_it_finds_as_low_a_bic_as_many_random_starts_of_every_number():
    maps = shares_of_effect((noise(5, 12, 1, 24, 24, 1.0)[:, 0] + 8 * _hills(12)).clamp_min(0))
    ours = bic(maps, ppeps_em(maps, *fit_fewest_gaussians(maps, 6, max_iter=100, tol=1e-3), max_iter=0))
    drawn = [
        bic(maps, ppeps_em(maps, *kmeans_plus_plus(maps, uniforms[:most])))
        for most in range(1, 7)
        for uniforms in draw_uniforms(0, 3, 6)
    ]
    assert (ours - torch.stack(drawn).amin(0)).mean() <= 3.0


def _hills(n: int) -> Tensor:
    places = np.random.default_rng(1).integers(4, 20, (n, 3, 2)).tolist()
    return (
        torch.cat([sum(300 * blobs((24, 24), (*at, 2.0, 0.1))[:, 0] for at in hills) for hills in places])
        / 30
    )


def test_it_merges_the_pair_that_costs_least():
    fit = fitted(weights((6, 6, 1.5, 0.2), (30, 8, 2, 0.3), (18, 30, 3, 0.5)), 5)
    means, covariances, shares = merge_cheapest(fit)
    mean, covariance, share = fit.means[0], fit.covariances[0], fit.shares[0]
    costs = {}
    for i in range(5):
        for j in range(i + 1, 5):
            total = share[i] + share[j]
            centre = (share[i] * mean[i] + share[j] * mean[j]) / total
            spread = sum(
                share[k] / total * (covariance[k] + torch.outer(mean[k] - centre, mean[k] - centre))
                for k in (i, j)
            )
            cost = total * torch.logdet(spread) - sum(share[k] * torch.logdet(covariance[k]) for k in (i, j))
            costs[i, j] = float(cost), centre, spread, total
    (i, j), (_, centre, spread, total) = min(costs.items(), key=lambda item: item[1][0])
    torch.testing.assert_close(means[0, i], centre, rtol=RTOL, atol=ATOL)
    torch.testing.assert_close(covariances[0, i], spread, rtol=RTOL, atol=ATOL)
    torch.testing.assert_close(shares[0, i], total, rtol=RTOL, atol=ATOL)
    others = [k for k in range(5) if k not in (i, j)]
    rest = [k for k in range(4) if k != i]
    assert torch.equal(means[0, rest], mean[others])
    assert torch.equal(shares[0, rest], share[others])


def test_an_absent_component_goes_first():
    maps = torch.zeros(1, 6, 6, dtype=torch.float64)
    maps[0, 1, 1], maps[0, 4, 4] = 0.6, 0.4
    fit = fitted(maps, 3)
    assert fit.shares[0].tolist() == pytest.approx([0.6, 0.4, 0.0])
    assert merge_cheapest(fit)[2][0].tolist() == pytest.approx([0.6, 0.4])


def test_no_weight_and_no_maps():
    for maps in (torch.zeros(2, 5, 4, dtype=torch.float64), torch.zeros(0, 5, 4, dtype=torch.float64)):
        means, _, shares = fit_fewest_gaussians(maps, 3, max_iter=10, tol=1e-3)
        assert shares.tolist() == [[0.0] * 3] * len(maps)
        assert not means.isnan().any()
    assert math.isfinite(float(bic(torch.zeros(1, 2, 2), fitted(torch.zeros(1, 2, 2).double(), 1))))

"""What theory says of the weighted EM: scikit-learn's fit, shares of effect, a growing likelihood."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from lvlm_va.ops import EMResult, ppeps_em
from tests.ops.samples import assert_fits_equal, centres, em_inputs, generator
from tests.tolerances import EM_DROP, EM_FIXED_POINT, EM_FLOOR, EM_SKLEARN, EM_TRANSPOSED, OP

RTOL, ATOL = OP[torch.float64]
NO_FLOOR = (0.0, 0.0)
checked = settings(deadline=None, derandomize=True, max_examples=30)


def responsibilities(fit: EMResult, image: int = 0) -> tuple[Tensor, Tensor]:
    """Return r_ij and the log densities of the mixture, by torch.distributions and not by our formulas."""
    normal = torch.distributions.MultivariateNormal(fit.means[image], fit.covariances[image])
    height, width = fit.labels.shape[1:]
    joint = normal.log_prob(centres(height, width)[:, None]) + fit.shares[image].log()
    return joint.softmax(1), joint.logsumexp(1)


@pytest.mark.parametrize("n_updates", [1, 2, 10, 60])
@pytest.mark.parametrize(("height", "width", "n_components"), [(12, 12, 3), (7, 20, 2), (15, 9, 4)])
def test_equals_scikit_learn_on_duplicated_points(
    height: int, width: int, n_components: int, n_updates: int
) -> None:
    counts = torch.randint(0, 5, (1, height, width), generator=generator())
    _, means, covariances, shares = em_inputs(1, height, width, n_components)
    fit = ppeps_em(
        counts.double(), means, covariances, shares, covariance_floor=NO_FLOOR, max_iter=n_updates, tol=0
    )
    points = centres(height, width).repeat_interleave(counts.flatten(), dim=0).numpy()
    peer = GaussianMixture(
        n_components,
        tol=0,
        reg_covar=0,
        max_iter=n_updates,
        weights_init=(shares[0] / shares.sum()).numpy(),
        means_init=means[0].numpy(),
        precisions_init=torch.linalg.inv(covariances[0]).numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(points)
    assert peer.n_iter_ == fit.n_iter[0] == n_updates
    np.testing.assert_allclose(fit.shares[0], peer.weights_, rtol=EM_SKLEARN)
    np.testing.assert_allclose(fit.means[0], peer.means_, rtol=EM_SKLEARN)
    np.testing.assert_allclose(fit.covariances[0], peer.covariances_, rtol=EM_SKLEARN, atol=EM_SKLEARN)
    np.testing.assert_allclose(fit.log_likelihood[0], peer.score(points), rtol=EM_SKLEARN)
    labels = fit.labels[0].flatten().repeat_interleave(counts.flatten())
    np.testing.assert_array_equal(labels - 1, peer.predict(points))


def two_blobs(height: int, width: int) -> Tensor:
    points = centres(height, width)
    blob_centres = torch.tensor([[0.25, 0.3], [0.7, 0.75]], dtype=torch.float64)
    squared = (points - blob_centres[:, None]).square().sum(2)
    return (torch.tensor([[0.7], [0.3]]) * (-squared / 0.02).exp()).sum(0).reshape(1, height, width)


@pytest.mark.parametrize("floor", [NO_FLOOR, (0.02, 0.02)])
def test_shares_are_shares_of_effect_at_convergence(floor: tuple[float, float]) -> None:
    weights = two_blobs(20, 24)
    _, _, covariances, shares = em_inputs(1, 20, 24, 2)
    means = torch.tensor([[[0.4, 0.4], [0.6, 0.6]]], dtype=torch.float64)
    fit = ppeps_em(weights, means, covariances, shares, covariance_floor=floor, max_iter=2000, tol=0)
    effect = weights.flatten() / weights.sum()
    r, log_density = responsibilities(fit)
    torch.testing.assert_close(effect @ r, fit.shares[0], rtol=0, atol=EM_FIXED_POINT)
    torch.testing.assert_close(effect @ log_density, fit.log_likelihood[0], rtol=RTOL, atol=ATOL)
    means = (effect[:, None] * r).T @ centres(20, 24) / fit.shares[0][:, None]
    torch.testing.assert_close(means, fit.means[0], rtol=0, atol=EM_FIXED_POINT)
    assert torch.equal(r.argmax(1) + 1, fit.labels[0].flatten())


@pytest.mark.parametrize("floor", [NO_FLOOR, None, (0.01, 0.03), (0.2, 1e-4)])
def test_the_likelihood_never_falls(floor: tuple[float, float] | None) -> None:
    inputs = em_inputs(4, 11, 14, 4, seed=3)
    fits = [ppeps_em(*inputs, covariance_floor=floor, max_iter=k, tol=0) for k in range(30)]
    growth = torch.stack([fit.log_likelihood for fit in fits]).diff(dim=0)
    assert float(growth.min()) >= -EM_DROP
    if floor == (0.01, 0.03):
        # The floor was at work: at least one variance lies on it.
        assert float(torch.linalg.eigvalsh(fits[-1].covariances / 0.01)[..., 0].min()) < 1.01


def test_the_floored_step_is_the_best_under_the_constraint() -> None:
    weights, means, covariances, shares = em_inputs(1, 10, 10, 1)
    floor = torch.tensor([0.12, 0.05], dtype=torch.float64)
    fit = ppeps_em(weights, means, covariances, shares, covariance_floor=(0.12, 0.05), max_iter=1, tol=0)
    draw = generator()
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            root = size * torch.randn((1, 1, 2, 2), dtype=torch.float64, generator=draw)
            # A move between two allowed covariances is allowed: both S and F + B B^T obey S >= F.
            other = (1 - size) * fit.covariances + size * torch.diag(floor) + root @ root.mT
            rival = ppeps_em(weights, fit.means, other, fit.shares, covariance_floor=(0.12, 0.05), max_iter=0)
            assert float(rival.log_likelihood) <= float(fit.log_likelihood) + EM_DROP


@st.composite
def maps(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw weights of any scale, with zeros, and a start whose components may be absent."""
    height, width, n_components = draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)))
    weights, means, covariances, shares = em_inputs(
        2, height, width, n_components, seed=draw(st.integers(0, 2**20))
    )
    # Exactly representable, so that scaling rounds nothing.
    weights = weights * 2.0 ** draw(st.integers(-900, 900))
    if draw(st.booleans()):
        keep = draw(st.integers(0, height * width - 1))
        weights[0] = torch.where(torch.arange(height * width).reshape(height, width) == keep, weights[0], 0)
    covariances = covariances * draw(st.sampled_from([1e-8, 1e-2, 1.0, 1e4]))
    shares[1, draw(st.integers(0, n_components - 1))] *= draw(st.sampled_from([0.0, 1e-9, 1.0]))
    return weights, means, covariances, shares


@checked
@given(maps(), st.sampled_from([None, NO_FLOOR, (0.05, 0.001)]), st.integers(0, 12))
def test_results_keep_their_promises(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor], floor: tuple[float, float] | None, max_iter: int
) -> None:
    weights, _, _, start_shares = inputs
    fit = ppeps_em(*inputs, covariance_floor=floor, max_iter=max_iter, tol=0)
    assert all(bool(tensor.isfinite().all()) for tensor in fit)
    positive = weights.flatten(1).any(1) & start_shares.any(1)
    torch.testing.assert_close(fit.shares.sum(1), positive.double())
    assert bool((fit.shares >= 0).all())
    assert bool((fit.shares[start_shares == 0] == 0).all())
    assert torch.equal(fit.labels > 0, (weights > 0) & positive[:, None, None])
    assert torch.equal(fit.n_iter, max_iter * positive)
    chosen = torch.cat([torch.ones(2, 1), fit.shares], dim=1).gather(1, fit.labels.flatten(1))
    assert bool((chosen > 0).all())
    least = floor or (1 / (12 * weights.shape[1] ** 2), 1 / (12 * weights.shape[2] ** 2))
    scale = torch.tensor(least, dtype=torch.float64).clamp_min(1e-12).sqrt()
    whitened = fit.covariances[fit.shares > 0] / (scale[:, None] * scale)
    # Relative to the largest eigenvalue: that is what rounding moves the smallest by.
    values = torch.linalg.eigvalsh(whitened)
    assert bool((values[:, 0] >= 1 - EM_FLOOR * values[:, 1]).all())


@checked
@given(maps(), st.integers(-60, 60))
def test_scaling_the_weights_changes_nothing(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor], exponent: int
) -> None:
    weights, *start = inputs
    assert_fits_equal(ppeps_em(weights * 2.0**exponent, *start), ppeps_em(weights, *start), 0, 0)


@checked
@given(maps(), st.integers(0, 2))
def test_transposing_the_map_transposes_the_fit(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor], max_iter: int
) -> None:
    weights, means, covariances, shares = inputs
    fit = ppeps_em(*inputs, max_iter=max_iter, tol=0)
    flipped = ppeps_em(
        weights.mT, means.flip(-1), covariances.flip(-1).flip(-2), shares, max_iter=max_iter, tol=0
    )
    back = flipped._replace(
        means=flipped.means.flip(-1), covariances=flipped.covariances.flip(-1).flip(-2), labels=fit.labels
    )
    # Labels are left out: rounding may turn a tie.
    assert_fits_equal(back, fit, EM_TRANSPOSED, EM_TRANSPOSED)

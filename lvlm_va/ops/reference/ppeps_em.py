"""Oracle of the weighted EM: one image at a time, in the words of the derivation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Below this share of the image's weight a component is dead.
DEAD_MASS = 1e-12
# Variance under every floor, in squared image extents: a std far below a pixel's. It keeps densities finite.
LEAST_VARIANCE = 1e-12


def ppeps_em(
    weights: Tensor,
    means: Tensor,
    covariances: Tensor,
    shares: Tensor,
    floor_row: float,
    floor_column: float,
    max_iter: int,
    tol: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Fit each image's mixture; see :func:`lvlm_va.ops.ppeps_em`."""
    n, height, width = weights.shape
    means, covariances, shares = means.clone(), covariances.clone(), shares.clone()
    log_likelihood = means.new_zeros(n)
    n_iter = means.new_zeros(n, dtype=torch.int64)
    labels = means.new_zeros((n, height, width), dtype=torch.int64)
    floor = means.new_tensor([max(floor_row, LEAST_VARIANCE), max(floor_column, LEAST_VARIANCE)])
    rows = (torch.arange(height, dtype=torch.float64, device=weights.device) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64, device=weights.device) + 0.5) / width
    points = torch.cartesian_prod(rows, columns).reshape(-1, 2)
    for i in range(n):
        support = (weights[i] > 0).flatten()
        present = shares[i] > 0
        if not (support.any() and present.any()):
            shares[i] = 0
            continue
        weight = weights[i].flatten()[support].double()
        weight = weight / weight.max()
        fit = _fit(
            points[support],
            weight / weight.sum(),
            means[i, present],
            _raise_to_floor(covariances[i, present], floor),
            shares[i, present] / shares[i, present].sum(),
            floor,
            max_iter,
            tol,
        )
        means[i, present], covariances[i, present], shares[i, present], log_likelihood[i], n_iter[i], best = (
            fit
        )
        labels[i].view(-1)[support] = present.nonzero().squeeze(1)[best] + 1
    return means, covariances, shares, log_likelihood, n_iter, labels


def _fit(
    points: Tensor,
    weight: Tensor,
    means: Tensor,
    covariances: Tensor,
    shares: Tensor,
    floor: Tensor,
    max_iter: int,
    tol: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, int, Tensor]:
    previous = -math.inf
    iteration = 0
    while True:
        log_joint = shares.log() + _log_density(points, means, covariances)
        log_marginal = log_joint.logsumexp(1)
        log_likelihood = weight @ log_marginal
        converged = tol > 0 and float(log_likelihood) - previous < tol
        if iteration == max_iter or converged:
            return means, covariances, shares, log_likelihood, iteration, log_joint.argmax(1)
        previous = float(log_likelihood)
        mass = weight[:, None] * (log_joint - log_marginal[:, None]).exp()
        means, covariances, shares = _maximise(points, mass, means, covariances, floor)
        iteration += 1


def _log_density(points: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Log density of each point (rows) under each component (columns), through the Cholesky factor."""
    deviation = points[:, None] - means
    row_scale = covariances[:, 0, 0].sqrt()
    slope = covariances[:, 0, 1] / covariances[:, 0, 0]
    # The variance of the column given the row; no less than the smallest eigenvalue.
    conditional = covariances[:, 1, 1] - slope * covariances[:, 0, 1]
    column_scale = conditional.clamp_min(LEAST_VARIANCE).sqrt()
    u = deviation[..., 0] / row_scale
    v = (deviation[..., 1] - slope * deviation[..., 0]) / column_scale
    return -0.5 * (u.square() + v.square()) - (row_scale * column_scale).log() - math.log(2 * math.pi)


def _maximise(
    points: Tensor, mass: Tensor, means: Tensor, covariances: Tensor, floor: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """M-step: moments of the points under each component's mass; a dead component stays where it was."""
    total = mass.sum(0)
    alive = total >= DEAD_MASS
    share_of_point = mass / torch.where(alive, total, 1.0)
    new_means = share_of_point.T @ points
    deviation = points[:, None] - new_means
    new_covariances = torch.einsum("pj,pja,pjb->jab", share_of_point, deviation, deviation)
    return (
        torch.where(alive[:, None], new_means, means),
        torch.where(alive[:, None, None], _raise_to_floor(new_covariances, floor), covariances),
        torch.where(alive, total, 0.0) / total[alive].sum(),
    )


def _raise_to_floor(covariances: Tensor, floor: Tensor) -> Tensor:
    """Return the maximiser of the expected log-likelihood among the covariances S >= diag(floor).

    In the coordinates in which the floor is the identity, the eigenvalues below 1 become 1.
    """
    scale = floor.sqrt()
    whitened = covariances / (scale[:, None] * scale)
    values, vectors = torch.linalg.eigh(whitened)
    raised = vectors @ torch.diag_embed(values.clamp_min(1)) @ vectors.mT
    return torch.where((values[:, 0] >= 1)[:, None, None], covariances, raised * (scale[:, None] * scale))

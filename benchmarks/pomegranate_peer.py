"""The weighted mixture of one attribution map by pomegranate 1.1."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tests.ops.samples import centres

Mixture = tuple[Tensor, Tensor, Tensor]  # means (J, 2), covariances (J, 2, 2), shares (J,)


def support(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates (p, 2) and the weights (p,) of a map's pixels of positive weight, float64.

    The weights are scaled to sum to 1. pomegranate would take the pixels of weight 0 as well, and take longer.
    """
    height, width = weights.shape
    flat = weights.flatten().double()
    inside = flat > 0
    return centres(height, width)[inside], flat[inside] / flat.sum()


def fit(
    points: Tensor, weights: Tensor, start: Mixture, dtype: torch.dtype, *, max_iter: int, tol: float = -math.inf
) -> Mixture:
    """Fit a mixture of full-covariance normals by pomegranate, from a given start.

    pomegranate stops when the *unweighted* log-likelihood grew by less than `tol`; minus infinity runs all
    `max_iter` updates. It sums weights in float32 whatever the dtype.
    """
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    # Copies: pomegranate writes its updates into the tensors it is given.
    means, covariances, shares = (part.to(dtype, copy=True) for part in start)
    parts = [Normal(mean, covariance) for mean, covariance in zip(means, covariances, strict=True)]
    model: Any = GeneralMixtureModel(parts, shares, max_iter=max_iter, tol=tol)
    model.fit(points.to(dtype), sample_weight=weights.to(dtype))
    means = torch.stack([part.means.detach() for part in model.distributions])
    covariances = torch.stack([part.covs.detach() for part in model.distributions])
    return means.double(), covariances.double(), model.priors.detach().double()


def log_joint(points: Tensor, mixture: Mixture) -> Tensor:
    """Return the log of share times density, of each point (rows) under each component, in float64."""
    means, covariances, shares = mixture
    deviation = points[:, None] - means
    distance = torch.einsum("pja,jab,pjb->pj", deviation, torch.linalg.inv(covariances), deviation)
    return shares.log() - 0.5 * (distance + torch.logdet(covariances)) - math.log(2 * math.pi)


def log_likelihood(points: Tensor, weights: Tensor, mixture: Mixture) -> float:
    """Return the weighted log-likelihood, per unit of weight, in float64."""
    return float(weights @ log_joint(points, mixture).logsumexp(1) / weights.sum())

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


def fit(points: Tensor, weights: Tensor, start: Mixture, dtype: torch.dtype, *, updates: int) -> Mixture:
    """Fit a mixture of full-covariance normals from a given start, by so many updates of pomegranate.

    pomegranate sums weights in float32 whatever the dtype.
    """
    model = _model(start, dtype, max_iter=updates, tol=-math.inf)
    model.fit(points.to(dtype), sample_weight=weights.to(dtype))
    return _mixture(model)


def fit_until(
    points: Tensor, weights: Tensor, start: Mixture, *, max_iter: int, tol: float, floor: tuple[float, float]
) -> Mixture:
    """Fit until the weighted log-likelihood, per unit of weight, grows by less than `tol` in an update.

    pomegranate's own stop rule looks at the unweighted one, which may fall: it often ends after one update. So the
    loop is written here, around pomegranate's two steps. It has no floor of the covariances either, and fails where
    one collapses, so they are raised to `floor` in each update, as ours are.
    """
    model = _model(start, torch.float32, floor=floor)
    points, weights = points.float(), weights.float()
    previous = -math.inf
    for _ in range(max_iter):
        model.summarize(points, sample_weight=weights)
        likelihood = float(weights @ model.log_probability(points))
        if likelihood - previous < tol:
            break
        previous = likelihood
        model.from_summaries()
    return _mixture(model)


def _model(
    start: Mixture, dtype: torch.dtype, floor: tuple[float, float] | None = None, **options: float
) -> Any:
    from pomegranate.gmm import GeneralMixtureModel

    # Copies: pomegranate writes its updates into the tensors it is given.
    means, covariances, shares = (part.to(dtype, copy=True) for part in start)
    kind = _normal(None if floor is None else torch.tensor(floor, dtype=dtype).sqrt())
    parts = [kind(mean, covariance) for mean, covariance in zip(means, covariances, strict=True)]
    return GeneralMixtureModel(parts, shares, **options)


def _normal(scale: Tensor | None) -> Any:
    """Return pomegranate's normal distribution, or one that takes every covariance raised to a floor."""
    from pomegranate.distributions import Normal

    if scale is None:
        return Normal

    class FlooredNormal(Normal):  # type: ignore[misc]
        def from_summaries(self) -> None:
            if self._w_sum.all():  # a component without weight stays where it is
                super().from_summaries()
            else:
                self._reset_cache()

        def _reset_cache(self) -> None:
            if self._initialized:
                values, vectors = torch.linalg.eigh(self.covs / scale / scale[:, None])
                if values[0] < 1:
                    self.covs[...] = (vectors * values.clamp_min(1)) @ vectors.T * scale * scale[:, None]
            super()._reset_cache()

    return FlooredNormal


def _mixture(model: Any) -> Mixture:
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

"""Bayes' information criterion of weighted mixtures."""

from __future__ import annotations

from torch import Tensor

from lvlm_va.ops import EMResult


def bic(weights: Tensor, fit: EMResult) -> Tensor:
    """Return ``-2 n_eff L + (6 J - 1) log n_eff`` of each map, shape (n,); 0 where there is no weight.

    Parameters
    ----------
    weights : Tensor of shape (n, H, W), float64
        Weights that sum to 1, or to 0. ``n_eff = (sum w)^2 / sum w^2`` is Kish's effective number of pixels.
    fit : EMResult
        Mixtures that were fitted to them; J counts the components that are present.
    """
    n_effective = 1 / weights.square().sum((1, 2))
    n_parameters = 6 * (fit.shares > 0).sum(1) - 1
    found = -2 * n_effective * fit.log_likelihood + n_parameters * n_effective.log()
    return found.where(n_effective.isfinite(), 0)

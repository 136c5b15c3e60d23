"""Mixtures with their number of components by BIC: fitted with the most, then merged one by one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvlm_va.ops import EMResult, ppeps_em
from lvlm_va.segmentation.bic import bic
from lvlm_va.segmentation.cells import widen
from lvlm_va.segmentation.starts import heaviest_farthest

# An image is done after this many mergers in a row that did not lower its BIC.
_PATIENCE = 2

# Means (n, J, 2), covariances (n, J, 2, 2) and shares (n, J); an absent component has a share of 0.
Mixture = tuple[Tensor, Tensor, Tensor]


def fit_fewest_gaussians(weights: Tensor, most: int, *, max_iter: int, tol: float) -> Mixture:
    """Fit a mixture to each map, with the number of components that has the least BIC.

    EM starts from `most` components, and goes on each time that two were merged.

    Parameters
    ----------
    weights : Tensor of shape (n, H, W), float64
        Weights that sum to 1, or to 0.
    most : int
        Largest number of components.
    max_iter, tol
        As for `lvlm_va.ops.ppeps_em`.

    Returns
    -------
    tuple of Tensor
        Means (n, `most`, 2), covariances (n, `most`, 2, 2) and shares (n, `most`), float64; a component that is
        absent has a share of 0.
    """
    fit = ppeps_em(weights, *heaviest_farthest(weights, most), max_iter=max_iter, tol=tol)
    best, least = (fit.means, fit.covariances, fit.shares), bic(weights, fit)
    rows = torch.arange(len(weights), device=weights.device)
    in_vain = torch.zeros_like(rows)
    for _ in range(most - 1):
        left = weights[rows]
        fit = ppeps_em(left, *merge_cheapest(fit), max_iter=max_iter, tol=tol)
        found = bic(left, fit)
        better = found < least[rows]
        improved = rows[better]
        least[improved] = found[better]
        for kept, new in zip(best, (fit.means, fit.covariances, fit.shares), strict=True):
            kept[improved] = widen(new[better], most, 0.0)
        in_vain = (in_vain + 1).masked_fill(better, 0)
        going = in_vain < _PATIENCE
        rows, in_vain, fit = rows[going], in_vain[going], EMResult(*(part[going] for part in fit))
        if not len(rows):
            break
    return best


def merge_cheapest(fit: EMResult) -> Mixture:
    """Return each mixture with two components merged into one of the same moments.

    They are those whose merger costs the least likelihood by the bound of Runnalls (2007),
    ``(p_i + p_j) log|S_ij| - p_i log|S_i| - p_j log|S_j|``. An absent component goes at no cost.
    """
    means, covariances, shares = fit.means, fit.covariances, fit.shares
    n_components = shares.shape[1]
    one, other = torch.triu_indices(n_components, n_components, 1, device=shares.device)
    total = shares[:, one] + shares[:, other]
    part = shares[:, one] / total.where(total > 0, 1)
    gap = means[:, one] - means[:, other]
    mean = means[:, other] + part[..., None] * gap
    between = (part * (1 - part))[..., None, None] * gap[..., :, None] * gap[..., None, :]
    within = torch.lerp(covariances[:, other], covariances[:, one], part[..., None, None])
    covariance = within + between
    spread = shares * _log_determinant(covariances)
    cost = total * _log_determinant(covariance) - spread[:, one] - spread[:, other]
    absent = (shares[:, one] <= 0) | (shares[:, other] <= 0)
    cheapest = cost.masked_fill(absent, -math.inf).argmin(1)
    image = torch.arange(len(shares), device=shares.device)
    into, gone = one[cheapest], other[cheapest]
    stays = torch.ones_like(shares, dtype=torch.bool)
    stays[image, gone] = False

    def merged(values: Tensor, pair: Tensor) -> Tensor:
        values = values.index_put((image, into), pair[image, cheapest])
        return values[stays].view(len(values), n_components - 1, *values.shape[2:])

    return merged(means, mean), merged(covariances, covariance), merged(shares, total)


def _log_determinant(covariances: Tensor) -> Tensor:
    """Return log|S|; of an absent component, whatever stands in its place, a finite number."""
    determinant = covariances[..., 0, 0] * covariances[..., 1, 1] - covariances[..., 0, 1].square()
    return determinant.clamp_min(1e-300).log()

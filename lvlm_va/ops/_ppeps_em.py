"""Weighted Gaussian mixtures over the pixels of attribution maps."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lvlm_va.ops._checks import FLOATING, require_device, require_shape, require_tensor


class EMResult(NamedTuple):
    """What :func:`ppeps_em` returns: parameters, and what belongs to exactly these parameters.

    Attributes
    ----------
    means : Tensor of shape (n, J, 2), float64
        Centres (row, column) in [0, 1].
    covariances : Tensor of shape (n, J, 2, 2), float64
        Covariances in the same coordinates.
    shares : Tensor of shape (n, J), float64
        Mixture weights; they sum to 1 over an image's living components. 0 for dead and absent ones, whose
        mean and covariance mean nothing.
    log_likelihood : Tensor of shape (n,), float64
        ``sum_i w_i log sum_j share_j N(z_i | mean_j, covariance_j)`` of the returned parameters, with the
        weights of an image scaled to sum to 1.
    n_iter : Tensor of shape (n,), int64
        Number of EM updates that led from the start to the returned parameters.
    labels : Tensor of shape (n, H, W), int64
        ``argmax_j r_ij + 1`` under the returned parameters where the weight is positive, else 0.
    """

    means: Tensor
    covariances: Tensor
    shares: Tensor
    log_likelihood: Tensor
    n_iter: Tensor
    labels: Tensor


def ppeps_em(
    weights: Tensor,
    means: Tensor,
    covariances: Tensor,
    shares: Tensor,
    *,
    covariance_floor: tuple[float, float] | None = None,
    max_iter: int = 100,
    tol: float = 1e-4,
) -> EMResult:
    """Fit a Gaussian mixture to each image's pixels, weighted, by expectation maximisation.

    Maximises ``sum_i w_i log sum_j share_j N(z_i | mean_j, covariance_j)`` over the pixels i of an image,
    where ``z_i = ((row + 0.5) / H, (column + 0.5) / W)`` and the weights are frequencies: a weight of 2
    equals the pixel counted twice. At a maximum ``share_j = sum_i w_i r_ij`` (weights scaled to sum to 1):
    the share of the image's weight in component j (PPEPS-WGM, arXiv 2512.21985).

    The covariances obey ``S_j >= diag(covariance_floor)`` (their difference has no negative eigenvalue).
    Each M-step is the exact maximum under this constraint: in the coordinates in which the floor is the
    identity, eigenvalues below 1 become 1. So the likelihood never falls, and where the floor does not bind
    the fit is the plain one.

    A component whose share of the weight falls below 1e-12 dies: its share is 0 from then on. Images do not
    influence each other. Not differentiable.

    Parameters
    ----------
    weights : Tensor of shape (n, H, W), float32 or float64
        Weight of each pixel, finite and >= 0; only ratios within an image matter. Pixels of weight 0 take no
        part. An image of zero weight keeps its start, with shares, likelihood, iterations and labels of 0.
    means : Tensor of shape (n, J, 2), float64
        Start of the centres.
    covariances : Tensor of shape (n, J, 2, 2), float64
        Start of the covariances, symmetric; raised to the floor before the first step.
    shares : Tensor of shape (n, J), float64
        Start of the shares, >= 0; scaled to sum to 1. A share of 0 means that the component is absent, and
        its mean and covariance are not read.
    covariance_floor : pair of float, optional
        Least variance along rows and columns, >= 0. By default the variance of a uniform pixel,
        ``(1 / (12 H^2), 1 / (12 W^2))``. Values under 1e-12 count as 1e-12, which keeps densities finite.
    max_iter : int, default=100
        Largest number of updates; with 0 the start is only evaluated.
    tol : float, default=1e-4
        An image stops when its log-likelihood (weights summing to 1) grew by less than `tol` in an update.
        With 0 every image runs to `max_iter`.

    Returns
    -------
    EMResult
        Parameters, likelihood and number of updates per image, labels per pixel.

    Raises
    ------
    TypeError
        If an argument is of the wrong type or dtype.
    ValueError
        If shapes or devices do not fit, a weight or share is negative or not finite, a start is not finite
        where its share is positive, or a number is out of its range.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.ops import ppeps_em
    >>> weights = torch.tensor([[[3.0, 0.0, 0.0, 1.0]]])
    >>> means = torch.tensor([[[0.5, 0.2], [0.5, 0.8]]], dtype=torch.float64)
    >>> covariances = 0.01 * torch.eye(2, dtype=torch.float64).expand(1, 2, 2, 2)
    >>> fit = ppeps_em(weights, means, covariances, torch.full((1, 2), 0.5, dtype=torch.float64))
    >>> fit.shares.round(decimals=3)
    tensor([[0.7500, 0.2500]], dtype=torch.float64)
    >>> fit.labels
    tensor([[[1, 0, 0, 2]]])
    """
    require_tensor("weights", weights, "(n, H, W)", 3, FLOATING)
    n, height, width = weights.shape
    if not (height and width):
        raise ValueError(
            "The 'weights' argument must have at least one row and one column. "
            f"Got {tuple(weights.shape)} instead."
        )
    require_tensor("shares", shares, "(n, J)", 2, (torch.float64,))
    n_components = shares.shape[1]
    require_tensor("means", means, "(n, J, 2)", 3, (torch.float64,))
    require_tensor("covariances", covariances, "(n, J, 2, 2)", 4, (torch.float64,))
    fitting = f"for weights of shape {tuple(weights.shape)} and {n_components} components"
    require_shape("shares", shares, (n, n_components), fitting)
    require_shape("means", means, (n, n_components, 2), fitting)
    require_shape("covariances", covariances, (n, n_components, 2, 2), fitting)
    for name, value in (("means", means), ("covariances", covariances), ("shares", shares)):
        require_device(name, value, "weights", weights)
    floor = (1 / (12 * height**2), 1 / (12 * width**2)) if covariance_floor is None else covariance_floor
    _require_options(floor, max_iter, tol)
    if not torch.compiler.is_compiling():
        _require_values(weights, means, covariances, shares)
    return EMResult(
        *torch.ops.lvlm_va.ppeps_em.default(
            weights, means, covariances, shares, float(floor[0]), float(floor[1]), max_iter, float(tol)
        )
    )


def _require_options(floor: tuple[float, float], max_iter: int, tol: float) -> None:
    if len(floor) != 2 or not all(0 <= value < math.inf for value in floor):
        raise ValueError(
            "The 'covariance_floor' argument must be two finite variances >= 0 (rows, columns). "
            f"Got {floor!r} instead."
        )
    if isinstance(max_iter, bool) or not isinstance(max_iter, int):
        raise TypeError(f"The 'max_iter' argument must be an int. Got {type(max_iter).__name__} instead.")
    if max_iter < 0:
        raise ValueError(f"The 'max_iter' argument must be >= 0. Got {max_iter} instead.")
    if not 0 <= tol < math.inf:
        raise ValueError(f"The 'tol' argument must be a finite number >= 0. Got {tol!r} instead.")


def _require_values(weights: Tensor, means: Tensor, covariances: Tensor, shares: Tensor) -> None:
    for name, value in (("weights", weights), ("shares", shares)):
        if not value.numel():
            continue
        least, largest = (float(bound) for bound in value.detach().aminmax())
        if not (least >= 0 and largest < math.inf):
            raise ValueError(
                f"The {name!r} argument must be finite and >= 0. Got values from {least} to {largest} instead."
            )
    present = shares > 0
    for name, value in (("means", means), ("covariances", covariances)):
        if not bool(value[present].isfinite().all()):
            raise ValueError(
                f"The {name!r} argument must be finite wherever 'shares' is positive. "
                "Got NaN or infinity instead."
            )

"""PPEPS-WGM: a Gaussian mixture over where the effect lands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lvlm_va.common.effect import Effect
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.ops import EMResult, ppeps_em
from lvlm_va.segmentation.bic import bic
from lvlm_va.segmentation.cells import cell_shares, segment_in_chunks, sorted_segmentation, widen
from lvlm_va.segmentation.effect import check_effect
from lvlm_va.segmentation.starts import draw_uniforms, kmeans_plus_plus
from lvlm_va.segmentation.types import Segmentation


@dataclass(frozen=True)
class PPEPSWGM:
    """Positive predictive effect probability segments by a weighted Gaussian mixture (arXiv 2512.21985).

    With the positive effect ``Phi+ = max(sum over channels of Phi, 0)`` of a pixel, ``p = Phi+ / sum Phi+``
    is the probability that a unit of positive effect comes from it. A mixture of J full-covariance Gaussians
    is fitted to the pixel coordinates ``z_i``, in [0, 1]^2, by EM on
    ``sum_i p_i log sum_j pi_j N(z_i | mu_j, S_j)``. The weights are frequencies (a weight of 2 equals the
    pixel counted twice). At the optimum ``pi_j = sum_i p_i r_ij`` is the share of positive effect in
    component j, and pixel i belongs to segment ``argmax_j r_ij``.

    EM starts from `n_restarts` weighted k-means++ draws and the likeliest fit is kept. Then, one at a time,
    the weakest component goes while it, or the pixels it owns, hold less than `min_share` of the effect, or
    while it owns no pixel at all. After each, EM runs on from the others: every pixel with effect keeps a
    segment, and the shares stay those of a fitted mixture.

    Parameters
    ----------
    n_segments : int or "bic", default=5
        Number of components J. ``"bic"`` chooses it per image, from 1 to `max_segments`, by the least
        ``-2 n_eff L + (6 J - 1) log n_eff``, where L is the log-likelihood per unit of weight and
        ``n_eff = (sum w)^2 / sum w^2`` is Kish's effective number of pixels.
    max_segments : int, default=8
        Largest number that ``"bic"`` tries; otherwise without effect.
    n_restarts : int, default=3
        Number of starts.
    max_iter : int, default=100
        Largest number of EM updates of a fit.
    tol : float, default=1e-4
        A fit ends when its log-likelihood per unit of weight grew by less in one update.
    min_share : float, default=0.02
        Least share of the effect of a segment, in [0, 1).
    covariance_floor : pair of float, optional
        Least variance along rows and columns, in squared image heights and widths. By default that of a
        uniform pixel, ``(1 / (12 H^2), 1 / (12 W^2))``.
    effect : {"positive", "absolute"}, default="positive"
        Which effect of a pixel counts: the paper's ``Phi+``, or ``|sum over channels of Phi|``, which also shows
        what speaks against the class.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of its range.

    Examples
    --------
    >>> import torch
    >>> attributions = torch.zeros(1, 1, 8, 8)
    >>> attributions[0, 0, 1, 1], attributions[0, 0, 6, 5:] = 3.0, 2.0
    >>> found = PPEPSWGM(n_segments=2).segment(attributions, torch.zeros(1, 1, 8, 8), seed=0)
    >>> found.shares.round(decimals=3)
    tensor([[0.6670, 0.3330]], dtype=torch.float64)
    >>> found.labels[0, 6]
    tensor([0, 0, 0, 0, 0, 1, 1, 1])
    """

    n_segments: int | Literal["bic"] = 5
    max_segments: int = 8
    n_restarts: int = 3
    max_iter: int = 100
    tol: float = 1e-4
    min_share: float = 0.02
    covariance_floor: tuple[float, float] | None = None
    effect: Effect = "positive"

    name: ClassVar[str] = "ppeps_wgm"

    def __post_init__(self) -> None:
        if not isinstance(self.n_segments, str):
            check_integer("n_segments", self.n_segments, 1)
        elif self.n_segments != "bic":
            raise unknown_name("n_segments", self.n_segments, ["bic", "an integer"])
        check_integer("max_segments", self.max_segments, 1)
        check_integer("n_restarts", self.n_restarts, 1)
        check_integer("max_iter", self.max_iter, 1)
        check_real("tol", self.tol, "[0, inf)")
        check_real("min_share", self.min_share, "[0, 1)")
        check_effect(self.effect)
        if self.covariance_floor is not None:
            if not isinstance(self.covariance_floor, tuple) or len(self.covariance_floor) != 2:
                raise TypeError(
                    "The 'covariance_floor' argument must be a pair (along rows, along columns) or None. "
                    f"Got {self.covariance_floor!r} instead."
                )
            for value in self.covariance_floor:
                check_real("covariance_floor", value, "[0, inf)")

    def segment(self, attributions: Tensor, images: Tensor, seed: int) -> Segmentation:
        """Cut each attribution map into segments.

        Parameters
        ----------
        attributions : Tensor of shape (n, C, H, W)
            Finite attributions of one logit per image. Their scale does not matter.
        images : Tensor of shape (n, C, H, W)
            Not looked at.
        seed : int
            Seed of the starts, >= 0.

        Returns
        -------
        Segmentation
            `n_segments` columns (`max_segments` with ``"bic"``), on the attributions' device. An image with
            fewer pixels with effect than that has fewer segments; one with none has no segment.

        Raises
        ------
        TypeError
            If the attributions are no floating tensor, or the seed no integer.
        ValueError
            If the attributions have another shape or are not finite, or the seed is negative.
        """
        check_integer("seed", seed, 0)
        width = self._candidates()[-1]
        uniforms = draw_uniforms(int(seed), self.n_restarts, width)
        return segment_in_chunks(
            lambda shares, _: self._segment(shares, uniforms), attributions, self.effect, width
        )

    def _candidates(self) -> range:
        """Return the numbers of components to try."""
        if isinstance(self.n_segments, str):
            return range(1, self.max_segments + 1)
        return range(self.n_segments, self.n_segments + 1)

    def _segment(self, effect: Tensor, uniforms: Tensor) -> Segmentation:
        fit = self._prune(effect, self._best_fit(effect, uniforms))
        return sorted_segmentation(fit.labels, fit.shares, fit.means, fit.covariances)

    def _best_fit(self, effect: Tensor, uniforms: Tensor) -> EMResult:
        """Fit every candidate number of components from every start, and keep each image's best by BIC.

        Among fits with one number of components that is the likeliest.
        """
        fits = (
            self._em(effect, *kmeans_plus_plus(effect, restart[:n_components]))
            for n_components in self._candidates()
            for restart in uniforms
        )
        width = uniforms.shape[1]
        best = _widen(next(fits), width)
        least = bic(effect, best)
        for fit in fits:
            found = bic(effect, fit)
            better = found < least
            best, least = _where(better, _widen(fit, width), best), found.where(better, least)
        return best

    def _em(self, effect: Tensor, means: Tensor, covariances: Tensor, shares: Tensor) -> EMResult:
        return ppeps_em(
            effect,
            means,
            covariances,
            shares,
            covariance_floor=self.covariance_floor,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _prune(self, effect: Tensor, fit: EMResult) -> EMResult:
        """Drop the weakest component of each image and fit again, until every one is strong enough."""
        n_components = fit.shares.shape[1]
        for _ in range(n_components - 1):
            present = fit.shares > 0
            strength = torch.minimum(fit.shares, cell_shares(effect, fit.labels, n_components))
            weakest, index = strength.where(present, torch.inf).min(1)
            weak = (weakest < self.min_share) | (weakest <= 0)
            rows = (weak & (present.sum(1) > 1)).nonzero()[:, 0]
            if not len(rows):
                break
            shares = fit.shares[rows].scatter(1, index[rows, None], 0.0)
            again = self._em(effect[rows], fit.means[rows], fit.covariances[rows], shares)
            fit = EMResult(*(old.index_copy(0, rows, new) for old, new in zip(fit, again, strict=True)))
        return fit


def _widen(fit: EMResult, width: int) -> EMResult:
    """Add absent components, up to `width`."""
    return fit._replace(
        means=widen(fit.means, width, 0.0),
        covariances=widen(fit.covariances, width, 0.0),
        shares=widen(fit.shares, width, 0.0),
    )


def _where(condition: Tensor, yes: EMResult, no: EMResult) -> EMResult:
    """Choose between two fits, image by image."""
    return EMResult(
        *(torch.where(condition.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(yes, no, strict=True))
    )

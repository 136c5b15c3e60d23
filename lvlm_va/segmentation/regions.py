"""Regions that a person would circle: smoothed effect, a mixture of few Gaussians, the densest part of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lvlm_va.common.effect import Effect
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.ops import ppeps_em
from lvlm_va.segmentation.cells import cell_moments, segment_in_chunks, sorted_segmentation
from lvlm_va.segmentation.effect import check_attributions, check_effect
from lvlm_va.segmentation.fewest_gaussians import Mixture, fit_fewest_gaussians
from lvlm_va.segmentation.pieces import connected_pieces
from lvlm_va.segmentation.shapes import closed, densest, opened
from lvlm_va.segmentation.smoothing import gaussian_radius, in_blocks, smoothed
from lvlm_va.segmentation.types import Segmentation

# Standard deviation of the smoothing, in shorter sides: one pixel of 64.
_SIGMA = 1 / 64


def _grain(sigma: float) -> int:
    """Return what a region may not be narrower than; images too small to be smoothed are left as they are."""
    return max(1, round(sigma)) if gaussian_radius(sigma) else 0


@dataclass(frozen=True)
class Regions:
    """Connected regions of high effect, few and plain enough that a person, or a vision-language model, can name them.

    Attributions of convolutional nets alternate in sign from pixel to pixel, and their positive part is dust. So they
    are smoothed by a Gaussian *before* the positive part is taken: signs that alternate cancel, and what is left says
    how much an area adds to the logit. A mixture of Gaussians is fitted to this effect, as in `PPEPSWGM`, with the
    number of components by BIC. Of each component the region is the smallest set of pixels that holds `mass` of its
    effect, by the density of the effect smoothed once more; it is closed, thin bridges and threads are cut off, and its
    connected pieces are the segments: those of at least `min_share` of the effect, and of these the `n_segments`
    strongest. If all are weaker, the strongest is kept.

    The mixture starts from `max_segments` components, centred on the pixels that have, one after the other, the most
    effect times squared distance to the centres before; then two are merged, those whose merger costs the least
    likelihood (Runnalls 2007), and EM runs on, until fewer have not lowered the BIC twice. Its regions hold as much of
    a known shortcut, as purely, as those of random starts of every number, in a sixth of the time. On images of 128
    pixels and more EM sees blocks of pixels no larger than the smoothing.

    Parameters
    ----------
    sigma : float, optional
        Standard deviation of the smoothing in pixels, >= 0. By default a 64th of the shorter side: 1 of 64 pixels, 3.5
        of 224. A third of it leaves dust, three times as much blurs a letter away. Images of up to 10 pixels
        are not smoothed.
    mass : float, default=0.8
        Share of the effect of a component that its region holds, in (0, 1].
    n_segments : int, default=8
        Most segments of an image.
    max_segments : int, default=8
        Most components that are tried, up to 62.
    max_iter : int, default=100
        Largest number of EM updates of a fit.
    tol : float, default=1e-3
        A fit ends when its log-likelihood per unit of weight grew by less in one update.
    min_share : float, default=0.03
        Least share of the effect of a segment, in [0, 1).
    rim : int, optional
        Pixels by which a mask reaches beyond a spurious region. By default as many as the smoothing blurs, at least 1.
    effect : {"positive", "absolute"}, default="positive"
        Which part of the smoothed attributions counts: what an area adds to the explained logit, or how much it changes
        it either way.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of its range.

    Examples
    --------
    >>> import torch
    >>> attributions = torch.zeros(1, 1, 8, 8)
    >>> attributions[0, 0, 1:3, 1:3], attributions[0, 0, 6, 5:] = 3.0, 2.0
    >>> found = Regions(mass=1.0).segment(attributions, torch.zeros(1, 1, 8, 8), seed=0)
    >>> found.shares[0, :2].round(decimals=3)
    tensor([0.6670, 0.3330], dtype=torch.float64)
    >>> found.labels[0, 6]
    tensor([0, 0, 0, 0, 0, 2, 2, 2])
    """

    sigma: float | None = None
    mass: float = 0.8
    n_segments: int = 8
    max_segments: int = 8
    max_iter: int = 100
    tol: float = 1e-3
    min_share: float = 0.03
    rim: int | None = None
    effect: Effect = "positive"

    name: ClassVar[str] = "regions"

    def __post_init__(self) -> None:
        if self.sigma is not None:
            check_real("sigma", self.sigma, "[0, inf)")
        check_real("mass", self.mass, "(0, 1]")
        check_integer("n_segments", self.n_segments, 1)
        check_integer("max_segments", self.max_segments, 1)
        if self.max_segments > 62:
            raise ValueError(
                f"The 'max_segments' argument must be at most 62. Got {self.max_segments} instead."
            )
        check_integer("max_iter", self.max_iter, 1)
        check_real("tol", self.tol, "[0, inf)")
        check_real("min_share", self.min_share, "[0, 1)")
        if self.rim is not None:
            check_integer("rim", self.rim, 0)
        check_effect(self.effect)

    def segment(self, attributions: Tensor, images: Tensor, seed: int) -> Segmentation:
        """Cut each attribution map into regions.

        Parameters
        ----------
        attributions : Tensor of shape (n, C, H, W)
            Finite attributions of one logit per image. Their scale does not matter.
        images : Tensor of shape (n, C, H, W)
            Not looked at.
        seed : int
            Without effect: nothing is random.

        Returns
        -------
        Segmentation
            `n_segments` columns, on the attributions' device. Shares, means and covariances are those of the smoothed
            effect inside the regions; what is in none is `Segmentation.outside`.

        Raises
        ------
        TypeError
            If the attributions are no floating tensor.
        ValueError
            If the attributions have another shape or are not finite.
        """
        check_attributions(attributions)
        sigma = _SIGMA * min(attributions.shape[2:]) if self.sigma is None else float(self.sigma)
        total = attributions.detach().sum(1, dtype=torch.float64)
        found = segment_in_chunks(
            lambda effect, _: self._segment(effect, sigma),
            smoothed(total, sigma)[:, None],
            self.effect,
            self.max_segments,
        )
        return replace(found, rim=_grain(sigma) if self.rim is None else self.rim)

    def _segment(self, effect: Tensor, sigma: float) -> Segmentation:
        grain = _grain(sigma)
        means, covariances, shares = self._mixture(effect, block=max(1, int(sigma)))
        density = smoothed(effect, sigma)
        owner = ppeps_em(density, means, covariances, shares, max_iter=0).labels
        kept = densest(effect, density, owner, self.max_segments, self.mass)
        kept = opened(closed(kept, self.max_segments, grain), self.max_segments, grain)
        labels = connected_pieces(effect, kept, self.max_segments, self.min_share, self.n_segments)
        return sorted_segmentation(labels, *cell_moments(effect, labels, self.n_segments))

    def _mixture(self, effect: Tensor, block: int) -> Mixture:
        """Fit to blocks of pixels; return means and covariances in the coordinates of the pixels, and shares."""
        blocks, extent = in_blocks(effect, block)
        means, covariances, shares = fit_fewest_gaussians(
            blocks, self.max_segments, max_iter=self.max_iter, tol=self.tol
        )
        return means * extent, covariances * (extent[:, None] * extent), shares

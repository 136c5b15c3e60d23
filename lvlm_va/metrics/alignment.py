"""How well attributions avoid what is known to be spurious."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lvlm_va.metrics.maps import check_maps


def alignment_score(attributions: Tensor | ArrayLike, masks: Tensor | ArrayLike) -> float:
    """Return the alignment ``mu = 1 - mean_n (sum_i A_ni |Phi_ni| / sum_i |Phi_ni|)``.

    The mean share of attribution that does not lie on spurious pixels (arXiv 2512.21985). The sums run over
    all values of an image, so channels of opposite sign do not cancel.

    Parameters
    ----------
    attributions : Tensor or array-like of shape (n, C, H, W)
        Finite attributions.
    masks : Tensor or array-like of shape (n, H, W)
        Ground truth, boolean or 0/1: 1 where a pixel is spurious.

    Returns
    -------
    float
        In [0, 1]; 1 is best. An image whose attributions are all zero has no share and is left out of the
        mean. Where no other image is left the score is NaN: a network that no longer looks at its input does
        not count as aligned.

    Raises
    ------
    ValueError
        If shapes do not fit, attributions are not finite, or masks hold other values than 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> attributions = np.array([[[[1.0, -2.0], [1.0, 0.0]]]])
    >>> masks = np.array([[[True, False], [False, False]]])
    >>> alignment_score(attributions, masks)
    0.75
    """
    shares = spurious_attribution_shares(attributions, masks)
    return 1 - float(shares[~shares.isnan()].mean())


def spurious_attribution_shares(attributions: Tensor | ArrayLike, masks: Tensor | ArrayLike) -> Tensor:
    """Return the share (n,) of each image's attribution on spurious pixels, NaN where it is all zero."""
    phi, mask = check_maps(attributions, masks)
    magnitude = phi.abs().sum(1, dtype=torch.float64)
    total = magnitude.sum((1, 2))
    if not total.isfinite().all():
        raise ValueError("The 'attributions' argument must be finite. Got NaN or infinity instead.")
    return (magnitude * mask.to(magnitude)).sum((1, 2)) / total

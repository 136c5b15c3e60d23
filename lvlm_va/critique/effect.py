"""Where the effect of each segment lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique.types import CritiqueRequest


def effect_shares_inside(request: CritiqueRequest, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return, for each segment, the share of its effect that lies inside a mask.

    With the pixel effects e_i and the segment C_i of each pixel, the share of segment j is
    ``sum_i e_i [C_i = j] mask_i / sum_i e_i [C_i = j]``.

    Parameters
    ----------
    request : CritiqueRequest
        The image, its segments and its effect.
    mask : ndarray of shape (H, W), bool
        The pixels that count.

    Returns
    -------
    ndarray of shape (n_segments,), float64
        Shares in [0, 1]; 0 for a segment without any effect.
    """
    labels, length = request.segments.ravel(), request.n_segments + 1
    total = np.bincount(labels, weights=request.effect.ravel(), minlength=length)
    inside = np.bincount(labels, weights=(request.effect * mask).ravel(), minlength=length)
    shares = np.divide(inside, total, out=np.zeros(length), where=total > 0)
    # The two sums may round differently: a segment that lies wholly inside must not exceed 1.
    return np.minimum(shares[1:], 1.0)

"""How well attributions avoid what is known to be spurious."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


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
    phi, mask = _tensor(attributions), _tensor(masks)
    if phi.ndim != 4:
        raise ValueError(
            f"The 'attributions' argument must have shape (n, C, H, W). Got {tuple(phi.shape)} instead."
        )
    expected = (phi.shape[0], *phi.shape[2:])
    if mask.shape != expected:
        raise ValueError(
            f"The 'masks' argument must have shape {expected}, one mask per image, to fit attributions of "
            f"shape {tuple(phi.shape)}. Got {tuple(mask.shape)} instead."
        )
    if mask.dtype != torch.bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            "The 'masks' argument must be boolean or hold 0 and 1 only. Got other values instead."
        )
    magnitude = phi.abs().sum(1, dtype=torch.float64)
    total = magnitude.sum((1, 2))
    if not total.isfinite().all():
        raise ValueError("The 'attributions' argument must be finite. Got NaN or infinity instead.")
    share = (magnitude * mask.to(magnitude)).sum((1, 2)) / total
    return 1 - float(share[total > 0].mean())


def _tensor(values: Tensor | ArrayLike) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    # A tensor cannot share the memory of a read-only array, such as joblib hands to its workers.
    return torch.from_numpy(np.require(values, requirements="W"))

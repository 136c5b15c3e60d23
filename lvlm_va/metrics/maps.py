"""Attributions and masks as tensors that fit each other."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def check_maps(attributions: Tensor | ArrayLike, masks: Tensor | ArrayLike) -> tuple[Tensor, Tensor]:
    """Return attributions (n, C, H, W) and masks (n, H, W) as tensors on the attributions' device.

    Raises
    ------
    ValueError
        If shapes do not fit, or masks hold other values than 0 and 1.
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
    return phi, mask.to(phi.device)


def _tensor(values: Tensor | ArrayLike) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    # A tensor cannot share the memory of a read-only array, such as joblib hands to its workers.
    return torch.from_numpy(np.require(values, requirements="W"))

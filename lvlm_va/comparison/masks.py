"""From what the user passes as ``masks`` to a checked tensor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lvlm_va.data.training_data import TrainingData


def resolve_masks(masks: ArrayLike | Tensor | None, data: TrainingData) -> Tensor:
    """Return the masks of the training images.

    Parameters
    ----------
    masks : array-like or Tensor of shape (n, H, W), or None
        What the user passed.
    data : TrainingData
        The images.

    Returns
    -------
    Tensor of shape (n, H, W), bool or the images' dtype
        1 where a pixel is spurious.

    Raises
    ------
    ValueError
        If masks are missing, of another shape, outside [0, 1], or mark no pixel at all.
    """
    shape = (len(data.images), *data.images.shape[2:])
    expected = (
        f"The 'masks' argument must be an array of shape {shape}, 1 where a pixel is spurious and 0 elsewhere"
    )
    if masks is None:
        raise ValueError(f"{expected}. Got None instead; pass fit(X, y, masks=...).")
    array = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    if array.shape != shape:
        raise ValueError(f"{expected}. Got shape {array.shape} instead.")
    # A copy, which shares no memory with the caller's.
    tensor = torch.tensor(array, dtype=torch.bool if array.dtype == bool else data.images.dtype)
    if not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise ValueError(f"{expected}. Got values outside [0, 1], or NaN, instead.")
    if not tensor.any():
        raise ValueError(f"{expected}. Got masks without a single marked pixel instead.")
    return tensor

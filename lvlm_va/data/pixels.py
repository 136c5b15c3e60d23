"""From one image, or a list of them, as tensors, arrays or Pillow images, to an array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lvlm_va.common.pictures import as_seen


def as_array(image: Any) -> NDArray[Any]:
    """Return an image as an array; a Pillow image as the eye sees it, its channels first.

    Raises
    ------
    TypeError
        If it is no array of numbers.
    """
    if isinstance(image, Image.Image):
        pixels = np.asarray(as_seen(image))
        return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
    pixels = np.asarray(image)
    if pixels.dtype.kind not in "biuf":
        keys = f" with the keys {list(image)}" if isinstance(image, Mapping) else ""
        raise TypeError(
            "The 'X' argument must hold images, or (image, label) pairs: tensors, arrays or Pillow images. Got "
            f"{type(image).__name__}{keys} instead."
        )
    return pixels


def stacked(images: Sequence[Any]) -> NDArray[Any]:
    """Return images as one array.

    Raises
    ------
    TypeError
        If one is no array of numbers.
    ValueError
        If they are of several shapes or types: scaling goes by the type.
    """
    arrays = [as_array(image) for image in images]
    for what, found in (
        ("shape", {array.shape for array in arrays}),
        ("type", {str(array.dtype) for array in arrays}),
    ):
        if len(found) > 1:
            raise ValueError(
                f"The 'X' argument must hold images of one {what}. Got {what}s {sorted(found)[:3]} instead."
            )
    return np.stack(arrays) if arrays else np.empty((0, 0))

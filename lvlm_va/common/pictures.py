"""Images as the eye sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Modes whose bands are light; I, F and I;16 hold more than 8 bits.
_LIGHT = {"1", "L", "LA", "RGB", "RGBA", "I", "F"}
# How far outside [0, 1] rounding may take an image that belongs there.
_ROUNDING = 1e-3


def as_seen(image: Image.Image) -> Image.Image:
    """Return an image upright by its EXIF orientation, with its palette or its inks (CMYK) turned into RGB.

    The transparency of a palette is dropped: such pixels have the colour that stands in the palette.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in _LIGHT or image.mode.startswith("I;16"):
        return image
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # Pillow warns of going to RGB at once where a palette is transparent
    return image.convert("RGB")


def to_unit(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return an image in [0, 1].

    A floating image with values outside [0, 1], such as a standardised one, is stretched linearly so that its smallest
    value is black and its largest white, the same for all channels: which pixel is how much brighter than which
    other stays true, and nothing is burnt out. Each image by itself, not all of a data set alike: so it looks the same
    whenever it is shown and whatever with, and one outlier somewhere does not turn all others grey. How bright two
    stretched images are beside each other therefore says nothing.

    Parameters
    ----------
    image : ndarray of shape (C, H, W), floating or uint8
        The image.

    Returns
    -------
    ndarray of shape (C, H, W), float64
        A new array.

    Raises
    ------
    TypeError
        If the image is neither floating nor uint8.
    """
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise TypeError(
            f"The 'images' argument must be floating in [0, 1] or uint8. Got {image.dtype} instead."
        )
    values = image.astype(np.float64)
    if image.dtype == np.uint8:
        values /= 255
    low, high = values.min(), values.max()
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        values = (values - low) / (high - low or 1)
    return values.clip(0, 1)

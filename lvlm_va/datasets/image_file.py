"""Pixels out of an image file, at the size that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

# What Pillow raises on damaged or monstrous files.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

Mode = Literal["RGB", "L"]


def read_image(path: Path, image_size: tuple[int, int], mode: Mode) -> NDArray[np.uint8]:
    """Return an image, upright and resized.

    The EXIF orientation is applied. Images of more than 8 bits (16-bit radiographs, floating TIFF) are
    stretched linearly, each from its own darkest to its own brightest value. Resizing is bilinear, with
    antialiasing where it makes the image smaller; the aspect is not kept.

    Parameters
    ----------
    path : Path
        The file, in any format that Pillow reads.
    image_size : (int, int)
        Height and width in pixels.
    mode : {"RGB", "L"}
        Colour, or grey (ITU-R 601 luma).

    Returns
    -------
    ndarray of shape (C, height, width), uint8
        C is 3 or 1.

    Raises
    ------
    ValueError
        If the file is no image, or is damaged.
    """
    image = _open_upright(path)
    deep = image.mode[0] in "IF"  # I, I;16, I;16B, F: more than 8 bits
    image = _stretched(path, image) if deep else image.convert(mode)
    height, width = image_size
    values = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    pixels = np.rint(values).astype(np.uint8) if deep else values
    if pixels.ndim == 3:
        # Laid out as it is shaped: collating batches of anything else takes a DataLoader twice as long.
        return np.array(pixels.transpose(2, 0, 1), order="C")
    return np.repeat(pixels[None], 3 if mode == "RGB" else 1, axis=0)


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width of the upright image in a file, whose pixels are left there.

    Raises
    ------
    ValueError
        If the file is no image.
    """
    with _naming(path), Image.open(path) as image:
        sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.width, image.height) if sideways else (image.height, image.width)


def read_mask(path: Path, image_size: tuple[int, int], original_size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask, resized to the nearest pixel.

    Parameters
    ----------
    path : Path
        An image file; a pixel that is not black (or not index 0 of a palette) is masked.
    image_size : (int, int)
        Height and width to resize to.
    original_size : (int, int)
        Height and width that the mask must have in the file, those of its image.

    Returns
    -------
    ndarray of shape (height, width), bool
        The mask.

    Raises
    ------
    ValueError
        If the file is no image, is damaged, or has another size than its image.
    """
    image = _open_upright(path)
    if (image.height, image.width) != original_size:
        raise ValueError(
            f"{path}: must have the size of its image, {original_size[0]}x{original_size[1]} pixels. Got "
            f"{image.height}x{image.width} instead."
        )
    values = np.asarray(image if len(image.getbands()) == 1 else image.convert("RGB").convert("L"))
    height, width = image_size
    nearest = Image.fromarray((values != 0).astype(np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    mask: NDArray[np.bool_] = np.asarray(nearest, bool)
    return mask


def _open_upright(path: Path) -> Image.Image:
    with _naming(path), Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        upright.load()
        return upright


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise ValueError(f"{path}: cannot be read as an image ({error}).") from error


def _stretched(path: Path, image: Image.Image) -> Image.Image:
    values: NDArray[Any] = np.asarray(image, np.float32)
    low, high = values.min(), values.max()
    if not np.isfinite(high - low):
        raise ValueError(f"{path}: holds values that are not finite.")
    return Image.fromarray((values - low) * (255 / ((high - low) or 1)))

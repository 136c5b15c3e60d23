"""Pixels out of an image file, at the size that is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from lvlm_va.common.pictures import as_seen
from lvlm_va.datasets.dicom import SUFFIXES as DICOM
from lvlm_va.datasets.dicom import open_dicom

# Suffix -> Pillow's name for the format. No other is opened, whatever a file is called: some have programs started.
FORMATS = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
# Names that image files end in.
SUFFIXES = (*FORMATS, *DICOM)
# In colour they take 0.3 GB, and as much again while they are turned or converted.
MOST_PIXELS = 2**26
# What Pillow raises on damaged or monstrous files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Files that a window is taken from, pixels of each along a side, and quantiles of each.
_SURVEYED, _SIDE, _QUANTILES = 256, 256, 1001
_ENDS = (0.001, 0.999)
# 0 and the highest value of 16 bits, where so many times as far from the median of the rest as that is wide, are marks.
_SATURATED, _APART = (65535.0, 0.0), 3

Mode = Literal["RGB", "L"]
# What becomes of images whose sides are in another proportion than those asked for.
Fit = Literal["stretch", "pad", "crop"]
# The values that become black and white.
Window = tuple[float, float]


def read_image(
    path: Path, image_size: tuple[int, int], mode: Mode, window: Window | None = None, fit: Fit = "stretch"
) -> NDArray[np.uint8]:
    """Return an image, upright and resized.

    The EXIF orientation is applied, palettes and CMYK become colours, transparency is dropped, and of several frames
    the first is taken. Resizing is bilinear, with antialiasing where it makes the image smaller.

    Parameters
    ----------
    path : Path
        The file, in one of `FORMATS`, of at most `MOST_PIXELS` pixels.
    image_size : (int, int)
        Height and width in pixels.
    mode : {"RGB", "L"}
        Colour, or grey (ITU-R 601 luma).
    window : (float, float) or None, default=None
        Of an image of more than 8 bits (16-bit radiographs, floating TIFF), the values that become 0 and 255; those
        between go linearly, those outside are cut off.
    fit : {"stretch", "pad", "crop"}, default="stretch"
        Of an image of another aspect: give that up, add black on two sides, or cut off as much of two sides.

    Returns
    -------
    ndarray of shape (C, height, width), uint8
        C is 3 or 1.

    Raises
    ------
    ValueError
        If the file is no image, is damaged or too large, or has more than 8 bits and no window is given.
    """
    with _opened(path) as opened:
        deep = _is_deep(opened)
        image = as_seen(opened)
        image = _windowed(image, window) if deep else image.convert(mode)
    values = np.asarray(_fitted(image, image_size, fit, Image.Resampling.BILINEAR))
    pixels = np.rint(values).astype(np.uint8) if deep else values
    if pixels.ndim == 3:
        # Laid out as it is shaped: collating batches of anything else takes a DataLoader twice as long.
        return np.array(pixels.transpose(2, 0, 1), order="C")
    return np.repeat(pixels[None], 3 if mode == "RGB" else 1, axis=0)


def shared_window(paths: Sequence[Path]) -> Window | None:
    """Return one window for all images of more than 8 bits: their 0.1 and 99.9 % quantiles.

    One for each image would make how bright its brightest thing is a shortcut. 65535 and 0 do not count where
    they lie far from all other values, as a saturated mark or an empty border beside 12 bits of tissue.

    Parameters
    ----------
    paths : sequence of Path
        The files. Of more than 256, as many are looked at, evenly spread; all count alike, whatever their size.

    Returns
    -------
    (float, float) or None
        None where none of those has more than 8 bits. What cannot be read is passed over.
    """
    found = []
    for place in np.linspace(0, len(paths) - 1, min(len(paths), _SURVEYED)).astype(int):
        try:
            with _opened(paths[place]) as image:
                if _is_deep(image):
                    found.append(_quantiles(image))
        except ValueError:  # said when the image is asked for
            continue
    if not found:
        return None
    low, high = np.quantile(_without_marks(np.concatenate(found)), _ENDS, method="nearest").tolist()
    return low, high


def _without_marks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values without those of marks and borders."""
    for extreme in _SATURATED:
        rest = values[values != extreme]
        if 0 < len(rest) < len(values):
            width = np.ptp(np.quantile(rest, _ENDS, method="nearest"))
            if 0 < _APART * width < abs(extreme - np.median(rest)):
                values = rest
    return values


def read_size(path: Path) -> tuple[int, int]:
    """Return height and width of the upright image in a file, whose pixels are left there.

    Raises
    ------
    ValueError
        If the file is no image.
    """
    with _opened(path) as image:
        sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.width, image.height) if sideways else (image.height, image.width)


def read_mask(
    path: Path, image_size: tuple[int, int], original_size: tuple[int, int], fit: Fit = "stretch"
) -> NDArray[np.bool_]:
    """Return a mask, resized to the nearest pixel.

    Parameters
    ----------
    path : Path
        An image file; a pixel that is not black (or not index 0 of a palette) is masked.
    image_size : (int, int)
        Height and width to resize to.
    original_size : (int, int)
        Height and width that the mask must have in the file, those of its image.
    fit : {"stretch", "pad", "crop"}, default="stretch"
        As for its image; what is added is not masked.

    Returns
    -------
    ndarray of shape (height, width), bool
        The mask.

    Raises
    ------
    ValueError
        If the file is no image, is damaged or too large, or has another size than its image.
    """
    with _opened(path) as opened:
        image = ImageOps.exif_transpose(opened)
        values = np.asarray(image) if len(image.getbands()) == 1 else np.asarray(image.convert("RGB")).any(-1)
    if values.shape != original_size:
        raise ValueError(
            f"{path}: must have the size of its image, {original_size[0]}x{original_size[1]} pixels. Got "
            f"{values.shape[0]}x{values.shape[1]} instead."
        )
    whole = Image.fromarray((values != 0).astype(np.uint8))
    mask: NDArray[np.bool_] = np.asarray(_fitted(whole, image_size, fit, Image.Resampling.NEAREST), bool)
    return mask


def _fitted(image: Image.Image, image_size: tuple[int, int], fit: Fit, how: Image.Resampling) -> Image.Image:
    height, width = image_size
    if fit == "pad":
        return ImageOps.pad(image, (width, height), how, color=0)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), how)
    return image.resize((width, height), how)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    if path.suffix.lower() in DICOM:
        yield open_dicom(path, MOST_PIXELS)
        return
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"it has {image.width:,} x {image.height:,} pixels; of more than {MOST_PIXELS:,} make it smaller "
                    "first"
                )
            yield image
    except _UNREADABLE as error:
        raise ValueError(f"{path}: cannot be read as an image ({error}).") from error


def _is_deep(image: Image.Image) -> bool:
    return image.mode[0] in "IF"  # I, I;16, I;16B, F: more than 8 bits


def _values(image: Image.Image) -> NDArray[np.float32]:
    values: NDArray[Any] = np.array(image, np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return values


def _windowed(image: Image.Image, window: Window | None) -> Image.Image:
    values = _values(image)
    if window is None:
        raise ValueError(
            "it has more than 8 bits, which none of the images had that were looked at beforehand; pass "
            "window=(black, white)"
        )
    low, high = window
    values.clip(low, high, out=values)
    values -= low
    values *= 255 / ((high - low) or 1)
    return Image.fromarray(values)


def _quantiles(image: Image.Image) -> NDArray[np.float32]:
    values = _values(image)
    step = max(1, math.isqrt(values.size) // _SIDE)
    return np.quantile(values[::step, ::step], np.linspace(0, 1, _QUANTILES), method="nearest")

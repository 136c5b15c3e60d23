"""Pixels for `RegionRenderer`: padding, scaling, contours and numbers that hide no other segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int64]
Colour = tuple[int, int, int]

GREY = 128
# Images up to this many pixels a side are enlarged without smoothing: every pixel stays what it was.
TINY = 64
# Tried in turn, in 768ths of the image's side, until a number fits.
_FONT_SIZES = (32, 24, 17)
# A pixel and its eight neighbours.
_AROUND = np.ones((3, 3), bool)


def square(image: Pixels) -> Pixels:
    """Return the image in the middle of a grey square, so that no centre crop cuts its borders off."""
    return _padded(image, GREY)


def square_labels(labels: Labels) -> Labels:
    """Return the label map in the middle of a square of background."""
    return _padded(labels, 0)


def _padded(array: NDArray, value: int) -> NDArray:  # type: ignore[type-arg]
    height, width = array.shape[:2]
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    around = [(above, side - height - above), (left, side - width - left)]
    return np.pad(array, around + [(0, 0)] * (array.ndim - 2), constant_values=value)


def scaled(image: Pixels, size: int) -> Pixels:
    """Return a square image of `size` pixels a side."""
    how = Image.Resampling.NEAREST if len(image) <= TINY else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((size, size), how))


def scaled_labels(labels: Labels, size: int) -> Labels:
    """Return a square label map of `size` pixels a side in which every label of `labels` has a pixel."""
    nearest = (2 * np.arange(size) + 1) * len(labels) // (2 * size)  # as Pillow does
    result = labels[np.ix_(nearest, nearest)]
    length = int(labels.max()) + 1
    before, after = (np.bincount(part.ravel(), minlength=length) for part in (labels, result))
    for label in np.flatnonzero((before > 0) & (after == 0)):
        rows, columns = (labels == label).nonzero()
        result[rows * size // len(labels), columns * size // len(labels)] = label
    return result


def outlined(image: Pixels, mask: Mask, others: Mask, colour: Colour, width: int) -> Pixels:
    """Return the image with a contour just inside a mask, and around it a black and white edge.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), uint8
        What is drawn on; stays as it is.
    mask : ndarray of shape (H, W), bool
        What is outlined.
    others : ndarray of shape (H, W), bool
        Pixels that the edge must leave as they are.
    colour : (int, int, int)
        Of the contour.
    width : int
        Of the contour in pixels.
    """
    result = image.copy()
    white, black = (binary_dilation(mask, _AROUND, iterations=reach) & ~others for reach in (1, 2))
    result[black & ~mask] = 0
    result[white & ~mask] = 255
    result[mask & ~binary_erosion(mask, _AROUND, iterations=width)] = colour
    return result


def numbered(image: Pixels, labels: Labels, numbers: Sequence[int]) -> Pixels:
    """Return the image with each segment's number in a box: in the segment where it fits, else beside it.

    A box lies wholly in its own segment or wholly on background, never on another segment or another box; a line
    then leads from it to its segment. A number that fits nowhere is left out.

    Parameters
    ----------
    image : ndarray of shape (S, S, 3), uint8
        What is drawn on; stays as it is.
    labels : ndarray of shape (S, S), int64
        Segment of each pixel, 0 for none.
    numbers : sequence of int
        Segments to be numbered.
    """
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    free = labels == 0
    areas = np.bincount(labels.ravel(), minlength=max(numbers, default=0) + 1)
    for number in sorted(numbers, key=lambda number: -areas[number]):
        mask = labels == number
        if not mask.any():
            continue
        middle = np.argwhere(mask).mean(0)
        for size in _FONT_SIZES:
            font = ImageFont.load_default(max(size * len(labels) // 768, 8))
            left, top, right, bottom = (int(edge) for edge in font.getbbox(str(number)))
            height, width = bottom - top + 6, right - left + 8
            inside = _nearest_place(mask, (height, width), middle)
            place = inside or _nearest_place(free, (height, width), middle)
            if place is None:
                continue
            row, column = place
            if inside is None:
                pixels = np.argwhere(mask)
                centre = np.array([row + height / 2, column + width / 2])
                target = pixels[((pixels - centre) ** 2).sum(1).argmin()]
                draw.line(
                    [centre[1], centre[0], int(target[1]), int(target[0])], fill=(255, 255, 255), width=2
                )
            box = [column, row, column + width - 1, row + height - 1]
            draw.rectangle(box, fill=(0, 0, 0), outline=(255, 255, 255))
            draw.text((column + 4 - left, row + 3 - top), str(number), fill=(255, 255, 255), font=font)
            free[row : row + height, column : column + width] = False
            break
    return np.asarray(canvas)


def _nearest_place(mask: Mask, size: tuple[int, int], middle: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the corner of the box of `size` that lies wholly in the mask, and nearest to `middle`."""
    height, width = size
    if height > len(mask) or width > mask.shape[1]:
        return None
    sums = np.pad(mask, ((1, 0), (1, 0))).cumsum(0, dtype=np.int64).cumsum(1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    places = np.argwhere(inside == height * width)
    if not len(places):
        return None
    distances = ((places + np.array(size) / 2 - middle) ** 2).sum(1)
    row, column = places[distances.argmin()]
    return int(row), int(column)

"""One segment as a small model sees it: 56x56 pixels, an outline, and everything outside tinted blue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

SIDE = 56
# The strongest pixels that hold this share of a segment's effect are shown: a wide faint fringe hides what counts.
_CORE_SHARE = 0.9
_OUTLINE = (255, 0, 255)
_TINT = (0, 40, 80)

Mask = NDArray[np.bool_]


def segment_view(image: NDArray[np.uint8], inside: Mask, effect: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return an image on which one segment is marked.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), uint8
        The image.
    inside : ndarray of shape (H, W), bool
        True in the segment; somewhere it must be.
    effect : ndarray of shape (H, W), floating
        Effect of each pixel, >= 0.

    Returns
    -------
    ndarray of shape (56, 56, 3), uint8
        The image scaled to fit, in the middle of a square; a magenta line around the pixels that hold 90 % of
        the segment's effect; the rest darkened and tinted blue.
    """
    return mark(_fit(image), to_square(core(inside, effect)))


def core(inside: Mask, effect: NDArray[np.float64]) -> Mask:
    """Return the pixels of a segment with the strongest effect that hold 90 % of it; all of one without effect.

    Of pixels that are equally strong, all or none are taken.
    """
    weights = np.where(inside, effect, 0.0)
    falling = -np.sort(-weights, axis=None)
    cumulative = np.cumsum(falling)
    weakest = falling[np.searchsorted(cumulative, _CORE_SHARE * cumulative[-1])]
    strong: Mask = inside & (weights >= weakest)
    return strong


def to_square(inside: Mask) -> Mask:
    """Return a segment at the size of the view, gaps of a few pixels closed; never empty."""
    covered = _fit(inside.astype(np.uint8) * np.uint8(255))
    # A segment thinner than a pixel of the view is seen where it covers most.
    square: Mask = covered >= min(128, int(covered.max()))
    return _shrink(grow(square, 2), 2)


def mark(square: NDArray[np.uint8], inside: Mask) -> NDArray[np.uint8]:
    """Return a 56x56 image with the segment and a pixel around it outlined, and the rest tinted."""
    inside = grow(inside)
    outer = grow(inside)
    rim = np.ones_like(inside)
    rim[1:-1, 1:-1] = False
    view: NDArray[np.uint8] = np.where(outer[..., None], square, square // 2 + np.array(_TINT, np.uint8))
    view[(outer & ~inside) | (inside & rim)] = _OUTLINE
    return view


def grow(inside: Mask, times: int = 1) -> Mask:
    """Return a mask grown by a pixel up, down, left and right, so many times."""
    # scipy takes 0 for as often as anything changes.
    grown: Mask = binary_dilation(inside, iterations=times) if times else inside
    return grown


def _shrink(inside: Mask, times: int) -> Mask:
    return ~grow(~inside, times)


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image, or one channel, scaled to the longer side 56, in the middle of a black square."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square = np.zeros((SIDE, SIDE, *image.shape[2:]), np.uint8)
    # BOX repeats pixels where it enlarges and averages where it shrinks.
    scaled = (
        image if size == (height, width) else Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX)
    )
    square[top : top + size[0], left : left + size[1]] = scaled
    return square

"""One segment as a small model sees it: 56x56 pixels in three channels, made for what it has to tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 56
# The strongest pixels that hold this share of a segment's effect are shown: a wide faint fringe hides what counts.
_CORE_SHARE = 0.9
# Brightness of red, green and blue, of 256.
_BRIGHTNESS = np.array([77, 150, 29])
# The ground is what lies within so many pixels of the edges.
_RIM = 9
_INSIDE = 64

Mask = NDArray[np.bool_]


def segment_views(
    image: NDArray[np.uint8], segments: NDArray[np.int64], effect: NDArray[np.float64]
) -> list[NDArray[np.uint8]]:
    """Return a view of an image for each of its segments.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), uint8
        The image.
    segments : ndarray of shape (H, W), integer
        Number of the segment of each pixel, from 1; 0 for none.
    effect : ndarray of shape (H, W), floating
        Effect of each pixel, >= 0.

    Returns
    -------
    list of ndarray of shape (56, 56, 3), uint8
        The image scaled to fit, in the middle of a square, as `mark` shows it with the pixels that hold 90 % of a
        segment's effect.
    """
    plain = plain_view(image)
    numbers = range(1, int(segments.max(initial=0)) + 1)
    return [mark(plain, to_square(core(segments == number, effect))) for number in numbers]


def plain_view(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image scaled to the view: its brightness, nothing, and how unlike the ground each pixel is.

    The ground is the median colour along the edges. What lies beyond the image is like it.
    """
    scaled = _scaled(image)
    rim = np.ones(scaled.shape[:2], bool)
    rim[_RIM:-_RIM, _RIM:-_RIM] = False
    ground = np.median(scaled[rim], axis=0)
    square = np.empty((SIDE, SIDE, 3), np.uint8)
    square[:] = ground
    square[_middle(scaled)] = scaled
    unlike = np.abs(square - ground).max(-1)
    return np.stack([(square @ _BRIGHTNESS) >> 8, np.zeros_like(unlike), unlike], -1).astype(np.uint8)


def mark(view: NDArray[np.uint8], inside: Mask) -> NDArray[np.uint8]:
    """Return a plain view with the segment, and a pixel around it, in green: the lighter the more unlike the ground."""
    marked = view.copy()
    marked[..., 1] = np.where(grow(inside), _INSIDE + view[..., 2] // 4 * 3, 0)
    return marked


def core(inside: Mask, effect: NDArray[np.float64], share: float = _CORE_SHARE) -> Mask:
    """Return the pixels of a segment with the strongest effect that hold this share of it; all of one without effect.

    Of pixels that are equally strong, all or none are taken.
    """
    weights = np.where(inside, effect, 0.0)
    falling = -np.sort(-weights, axis=None)
    cumulative = np.cumsum(falling)
    weakest = falling[np.searchsorted(cumulative, share * cumulative[-1])]
    strong: Mask = inside & (weights >= weakest)
    return strong


def to_square(inside: Mask) -> Mask:
    """Return a segment at the size of the view, gaps of a few pixels closed; never empty."""
    scaled = _scaled(inside.astype(np.uint8) * np.uint8(255))
    covered = np.zeros((SIDE, SIDE), np.uint8)
    covered[_middle(scaled)] = scaled
    # A segment thinner than a pixel of the view is seen where it covers most.
    square: Mask = covered >= min(128, int(covered.max()))
    return _shrink(grow(square, 2), 2)


def grow(inside: Mask, times: int = 1) -> Mask:
    """Return a mask grown by a pixel up, down, left and right, so many times."""
    # On so few pixels this takes a tenth of the time of scipy's binary_dilation.
    for _ in range(times):
        grown = inside.copy()
        grown[1:] |= inside[:-1]
        grown[:-1] |= inside[1:]
        grown[:, 1:] |= inside[:, :-1]
        grown[:, :-1] |= inside[:, 1:]
        inside = grown
    return inside


def _shrink(inside: Mask, times: int) -> Mask:
    return ~grow(~inside, times)


def _scaled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image, or one channel, scaled to the longer side 56."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size == (height, width):
        return image
    # BOX repeats pixels where it enlarges and averages where it shrinks.
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def _middle(scaled: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return where a scaled image lies in the square."""
    height, width = scaled.shape[:2]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return slice(top, top + height), slice(left, left + width)

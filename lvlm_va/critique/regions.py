"""Regions of an image that a person can name: corners, border, centre, boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_real

Box = tuple[float, float, float, float]
RegionSpec = str | tuple[str, float] | Box

# A pixel centre on the edge of a box belongs to it, whatever 1 - 0.7 rounds to.
_EDGE = 1e-9


@dataclass(frozen=True)
class Region:
    """A union of boxes.

    Attributes
    ----------
    text : str
        What a person calls it, with its article.
    boxes : tuple of (top, left, bottom, right)
        In relative coordinates in [0, 1], rows downwards.
    """

    text: str
    boxes: tuple[Box, ...]

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the pixels whose centre ((r + 1/2)/H, (c + 1/2)/W) lies in one of the boxes, edges included.

        Parameters
        ----------
        height, width : int
            Size of the image in pixels.

        Returns
        -------
        ndarray of shape (height, width), bool
            The mask.

        Raises
        ------
        ValueError
            If no pixel centre of an image of this size lies in the region.
        """
        rows = (np.arange(height) + 0.5) / height
        columns = (np.arange(width) + 0.5) / width
        mask = np.zeros((height, width), bool)
        for top, left, bottom, right in self.boxes:
            mask |= np.outer(_between(rows, top, bottom), _between(columns, left, right))
        if not mask.any():
            raise ValueError(
                f"The 'specification' argument must declare regions of at least one pixel. Got {self.text}, "
                f"which covers none of an image of {height}x{width} pixels, instead. Declare a larger one."
            )
        return mask


def _between(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return (values >= low - _EDGE) & (values <= high + _EDGE)


def _corners(size: float) -> tuple[Box, ...]:
    far = 1 - size
    return (0, 0, size, size), (0, far, size, 1), (far, 0, 1, size), (far, far, 1, 1)


def _border(size: float) -> tuple[Box, ...]:
    return (0, 0, size, 1), (1 - size, 0, 1, 1), (0, 0, 1, size), (0, 1 - size, 1, 1)


def _centre(size: float) -> tuple[Box, ...]:
    near, far = (1 - size) / 2, (1 + size) / 2
    return ((near, near, far, far),)


# Name: text, default size, largest size, boxes. The size is a share of the image's height and width.
_NAMED: dict[str, tuple[str, float, float, Callable[[float], tuple[Box, ...]]]] = {
    "corners": ("the corners", 0.2, 0.5, _corners),
    "border": ("the border", 0.1, 0.5, _border),
    "centre": ("the centre", 0.5, 1.0, _centre),
    "center": ("the centre", 0.5, 1.0, _centre),
    "top": ("the top", 1 / 3, 1.0, lambda size: ((0, 0, size, 1),)),
    "bottom": ("the bottom", 1 / 3, 1.0, lambda size: ((1 - size, 0, 1, 1),)),
    "left": ("the left side", 1 / 3, 1.0, lambda size: ((0, 0, 1, size),)),
    "right": ("the right side", 1 / 3, 1.0, lambda size: ((0, 1 - size, 1, 1),)),
    "top_left": ("the top left corner", 0.2, 1.0, lambda size: _corners(size)[:1]),
    "top_right": ("the top right corner", 0.2, 1.0, lambda size: _corners(size)[1:2]),
    "bottom_left": ("the bottom left corner", 0.2, 1.0, lambda size: _corners(size)[2:3]),
    "bottom_right": ("the bottom right corner", 0.2, 1.0, lambda size: _corners(size)[3:]),
}


def parse_region(region: RegionSpec) -> Region:
    """Return the region that a name, a name with a size, or a box declares.

    Parameters
    ----------
    region : str, (str, float) or (float, float, float, float)
        A name: ``"corners"``, ``"top_left"``, ``"top_right"``, ``"bottom_left"``, ``"bottom_right"`` (squares
        of 0.2 of the height and width), ``"border"`` (a frame of 0.1), ``"centre"`` or ``"center"`` (a box of
        0.5), ``"top"``, ``"bottom"``, ``"left"``, ``"right"`` (the outer third). A name with its own
        size: ``("corners", 0.15)``. Or a box (top, left, bottom, right) in relative coordinates in [0, 1].

    Returns
    -------
    Region
        The region.

    Raises
    ------
    TypeError
        If `region` is none of the three.
    ValueError
        If the name is unknown, or the size or the box does not fit into the image.
    """
    if isinstance(region, str):
        return _named(region)
    parts: tuple[Any, ...] = tuple(region) if isinstance(region, Sequence) else ()
    if len(parts) == 2 and isinstance(parts[0], str):
        return _named(parts[0], parts[1])
    if len(parts) == 4 and all(isinstance(part, Real) for part in parts):
        return _box(parts)
    raise TypeError(
        "The 'specification' argument must list regions, each a name, a (name, size) pair or a box (top, "
        f"left, bottom, right). Got {region!r} instead."
    )


def _named(name: str, size: float | None = None) -> Region:
    if name not in _NAMED:
        raise unknown_name("specification", name, _NAMED)
    text, default, most, boxes = _NAMED[name]
    if size is None:
        size = default
    fits = f"(0, {most:g}]"
    check_real(f"specification: size of {name}", size, fits, expected=f"a number in {fits}")
    return Region(text, boxes(size))


def _box(parts: tuple[float, ...]) -> Region:
    top, left, bottom, right = (float(part) for part in parts)
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(
            "The 'specification' argument must hold boxes (top, left, bottom, right) with 0 <= top < bottom "
            f"<= 1 and 0 <= left < right <= 1. Got {parts} instead. Divide pixel coordinates by the image's "
            "size."
        )
    return Region(f"the box ({top:g}, {left:g}, {bottom:g}, {right:g})", ((top, left, bottom, right),))

"""Where each segment lies and how much it counts: what models see badly, computed and put into words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.effect import Effect
from lvlm_va.critique.types import SPEAKS, CritiqueRequest


@dataclass(frozen=True)
class SegmentFacts:
    """Size, place and weight of one segment.

    Attributes
    ----------
    segment : int
        Its number.
    area : float
        Share of the image's pixels, in (0, 1].
    effect : float
        Share of the image's effect, in [0, 1].
    box : tuple of (top, left, bottom, right)
        Bounding box in pixels, the ends excluded; rows downwards.
    position : str
        Where its middle lies, in words: ``"top left"``, ``"centre"``, ...
    borders : tuple of str
        Borders of the image that it touches.
    effect_kind : {"positive", "absolute"}
        Which effect it is.
    """

    segment: int
    area: float
    effect: float
    box: tuple[int, int, int, int]
    position: str
    borders: tuple[str, ...]
    effect_kind: Effect = "positive"

    def __str__(self) -> str:
        touching = f", touching the {_and(self.borders)} border" if self.borders else ""
        return (
            f"{_percent(self.area)} of the image, {self.position}{touching}; "
            f"{_percent(self.effect)} of what {SPEAKS[self.effect_kind]} the class"
        )


def segment_facts(request: CritiqueRequest) -> tuple[SegmentFacts, ...]:
    """Return the facts about each segment that has a pixel, in order.

    Parameters
    ----------
    request : CritiqueRequest
        The image, its segments and its effect.

    Returns
    -------
    tuple of SegmentFacts
        In the order of their numbers.
    """
    return tuple(
        _facts(request, segment, mask)
        for segment in range(1, request.n_segments + 1)
        if (mask := request.segments == segment).any()
    )


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of a mask's pixels, the ends excluded; at least one must be true."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def position_in_words(row: float, column: float) -> str:
    """Return which ninth of an image a point lies in, from its relative coordinates in [0, 1].

    Parameters
    ----------
    row, column : float
        Of the point, from the top and from the left.

    Returns
    -------
    str
        "top left", "centre", ...

    Examples
    --------
    >>> position_in_words(0.1, 0.5), position_in_words(0.9, 0.9), position_in_words(0.5, 0.5)
    ('top', 'bottom right', 'centre')
    """
    words = [
        first if share < 1 / 3 else last if share > 2 / 3 else ""
        for share, first, last in ((row, "top", "bottom"), (column, "left", "right"))
    ]
    return " ".join(word for word in words if word) or "centre"


def _facts(request: CritiqueRequest, segment: int, mask: NDArray[np.bool_]) -> SegmentFacts:
    height, width = mask.shape
    top, left, bottom, right = box = bounding_box(mask)
    rows, columns = mask.nonzero()
    row, column = (rows.mean() + 0.5) / height, (columns.mean() + 0.5) / width
    borders = (
        ("top", top == 0),
        ("left", left == 0),
        ("bottom", bottom == height),
        ("right", right == width),
    )
    return SegmentFacts(
        segment=segment,
        area=float(mask.mean()),
        effect=float(min(request.effect[mask].sum(), 1.0)),
        box=box,
        position=position_in_words(row, column),
        borders=tuple(name for name, touched in borders if touched),
        effect_kind=request.effect_kind,
    )


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _and(words: tuple[str, ...]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

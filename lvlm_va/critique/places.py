"""Where the segments lie that a verdict table was made for, by which it is known again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Row and column of the middle of a segment's effect, and its share of the image's effect; all in [0, 1].
Place = tuple[float, float, float]

# Other devices round otherwise; other segments lie elsewhere.
_TOLERANCE = 0.02
# Next to nothing, spread over all pixels, so that segments without effect have a middle.
_EVEN = 1e-6
_NUMBER = r"[01]\.\d{3}"
_TEXT = re.compile(rf"({_NUMBER} {_NUMBER} {_NUMBER}(, (?=\d)|$))*")


def segment_places(segments: NDArray[Any], effect: NDArray[Any]) -> tuple[Place, ...]:
    """Return the places of the segments of an image, in order.

    Parameters
    ----------
    segments : ndarray of shape (H, W), integer
        0 for background, else the number of the segment, from 1.
    effect : ndarray of shape (H, W), floating
        Effect of each pixel, not negative, in any unit.

    Returns
    -------
    tuple of (row, column, share)
        Rounded to three digits.
    """
    total = float(effect.sum()) or 1.0
    weights = (effect / total + _EVEN / effect.size).ravel()
    rows, columns = (
        (index + 0.5) / size for index, size in zip(np.indices(segments.shape), segments.shape, strict=True)
    )
    of, n = segments.ravel(), int(segments.max(initial=0)) + 1
    share, row, column = (
        np.bincount(of, values, n)[1:]
        for values in (weights, weights * rows.ravel(), weights * columns.ravel())
    )
    there = share > 0
    row, column = (np.divide(sums, share, out=np.zeros_like(share), where=there) for sums in (row, column))
    return tuple(zip(*(np.round(values, 3).tolist() for values in (row, column, share)), strict=True))


def same_places(one: Sequence[Place], other: Sequence[Place]) -> bool:
    """Whether two images' segments are the same, up to what another device rounds otherwise."""
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=0, abs_tol=_TOLERANCE)
        for place, there in zip(one, other, strict=True)
        for a, b in zip(place, there, strict=True)
    )


def places_to_text(places: Sequence[Place]) -> str:
    """Return places in one line of text."""
    return ", ".join(" ".join(f"{number:.3f}" for number in place) for place in places)


def places_from_text(text: str) -> tuple[Place, ...]:
    """Return the places that `places_to_text` wrote; ValueError for other text."""
    if not _TEXT.fullmatch(text):
        raise ValueError(
            f"'made_for' must say where the segments lie, as it was saved. Got {text!r} instead."
        )
    return tuple(tuple(map(float, place.split())) for place in text.split(", ") if place)  # type: ignore[misc]

"""Images whose shortcut is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DecoyData:
    """Images of one split, with the pixels that give the class away by a shortcut.

    Attributes
    ----------
    images : ndarray of shape (n, C, H, W), float32
        Grey (C = 1) or red, green and blue (C = 3) values in [0, 1].
    labels : ndarray of shape (n,), int64
        Class numbers from 0.
    masks : ndarray of shape (n, H, W), bool
        True where a pixel belongs to the shortcut.
    groups : ndarray of shape (n,), str
        Class and shortcut, as in ``"3/agrees"`` or ``"malignant/plaster"``; what can follow the stroke is told
        by the function that made the data.
    objects : ndarray of shape (n, H, W), bool, or None
        True where a pixel belongs to what should count, be it that the shortcut lies over it; None where that is not
        known. The rest is plain surroundings.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]
    groups: NDArray[np.str_]
    objects: NDArray[np.bool_] | None = None

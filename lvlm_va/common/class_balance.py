"""Images in an order in which the classes take turns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def class_balanced_order(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.intp]:
    """Return all positions: those of the least score of every class, then of the second least, and so on.

    A class that runs out leaves its places to the others; ties go to the lower index.
    """
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members[np.argsort(scores[members], kind="stable")]] = np.arange(len(members))
    return np.lexsort((scores, rank))

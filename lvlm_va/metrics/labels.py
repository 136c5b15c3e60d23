"""Labels that can be compared with each other."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


def check_one_type(y_true: NDArray[Any], y_pred: NDArray[Any]) -> None:
    """Raise ValueError where labels are text on one side and numbers on the other: none would ever be equal."""
    texts = [{isinstance(label, str) for label in labels.tolist()} for labels in (y_true, y_pred)]
    if len(set.union(*texts)) > 1:
        first, second = (labels.tolist()[:3] for labels in (y_true, y_pred))
        raise ValueError(
            "The 'y_true' and 'y_pred' arguments must hold labels of one type, text or numbers. "
            f"Got {first} and {second} instead, to begin with."
        )

"""What a classifier is asked to tell, and which nets can: one of several classes, one finding, or several findings."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

Task = Literal["multiclass", "binary", "multilabel"]
TASKS: tuple[str, ...] = ("auto", *get_args(Task))


def accepted_logits(task: str, n_classes: int) -> tuple[int, ...]:
    """Return how many logits a net may have for a task that is not multilabel, the usual number first.

    Raises
    ------
    ValueError
        If there are not two classes where one finding is to be told.
    """
    if task == "binary":
        if n_classes != 2:
            raise ValueError(
                f"The 'y' argument must hold two classes for task='binary'. Got {n_classes} instead."
            )
        return (1,)
    return (2, 1) if task == "auto" and n_classes == 2 else (n_classes,)


def task_of(n_logits: int, labels: Tensor) -> Task:
    """Return what a net of so many logits tells, by labels of shape (n,) or (n, K)."""
    if labels.ndim == 2:
        return "multilabel"
    return "binary" if n_logits == 1 else "multiclass"

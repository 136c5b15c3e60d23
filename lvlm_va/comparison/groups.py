"""Groups of training images, such as class and spurious attribute, and draws that are balanced over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._missing import is_pandas_na
from torch import Tensor

from lvlm_va.comparison.errors import NotApplicableError
from lvlm_va.data.training_data import TrainingData


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of each image.

    Attributes
    ----------
    numbers : ndarray of shape (n,), int64
        Group of each image, from 0.
    names : tuple of str
        Names of the groups; none is empty.
    """

    numbers: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of images in each group."""
        return np.bincount(self.numbers, minlength=len(self.names))

    def balanced(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return rows drawn without replacement, from each group as many as the smallest holds, in order."""
        order = rng.permutation(len(self.numbers))
        smallest = int(self.sizes.min())
        chosen = [order[self.numbers[order] == group][:smallest] for group in range(len(self.names))]
        return np.sort(np.concatenate(chosen))

    def evening_repeats(self) -> NDArray[np.int64]:
        """Return how often to show each image so that all groups come about as often as the largest."""
        repeats: NDArray[np.int64] = np.rint(self.sizes.max() / self.sizes).astype(np.int64)
        return repeats[self.numbers]

    def split(
        self, share: float, rng: np.random.Generator, *, at_least: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows drawn in each group, a share of it but `at_least` so many, and all other rows, in order."""
        order = rng.permutation(len(self.numbers))
        drawn = np.zeros(len(self.numbers), bool)
        for group, size in enumerate(self.sizes.tolist()):
            drawn[order[self.numbers[order] == group][: max(at_least, round(share * size))]] = True
        return np.flatnonzero(drawn), np.flatnonzero(~drawn)

    def take(self, rows: NDArray[np.int64]) -> Groups:
        """Return the groups of these rows."""
        return Groups(self.numbers[rows], self.names)


def resolve_groups(groups: ArrayLike | None, data: TrainingData) -> Groups:
    """Return the groups of the training images.

    Where each value of `groups` occurs in one class only, the values are the groups; where classes share a value,
    each pair of class and value is one.

    Parameters
    ----------
    groups : array-like of shape (n,), or None
        What the user passed.
    data : TrainingData
        Labels, and names of the classes.

    Returns
    -------
    Groups
        Sorted by name.

    Raises
    ------
    ValueError
        If groups, or the group of an image, are missing, or they are of another shape.
    NotApplicableError
        If a pair of class and value has no image, or every class holds one group only.
    """
    n, n_classes = len(data.labels), len(data.class_names)
    expected = f"The 'groups' argument must hold the group of each of {n} images"
    if groups is None:
        raise ValueError(f"{expected}. Got None instead; pass fit(X, y, groups=...).")
    array = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if array.shape != (n,):
        raise ValueError(f"{expected}. Got shape {array.shape} instead.")
    # As objects: an array of strings would hold NaN as "nan".
    objects = array if isinstance(groups, Tensor) else np.asarray(groups, dtype=object)
    missing = [row for row, value in enumerate(objects.tolist()) if _is_missing(value)]
    if missing:
        raise ValueError(
            f"{expected}. Got None or NaN for {len(missing)} of them, the first in row {missing[0]}; leave such images "
            "out, or give them a group of their own, such as 'unknown'."
        )
    values, members = np.unique(array.astype(str), return_inverse=True)
    counts = np.zeros((n_classes, len(values)), np.int64)
    np.add.at(counts, (data.labels.numpy(), members), 1)
    occurs = counts > 0
    if (occurs.sum(1) == 1).all():
        raise NotApplicableError(
            f"{expected} and tell at least two groups of one class apart. Got one group for each class, "
            f"{values.tolist()}: without counterexamples to the shortcut there is nothing to balance."
        )
    if (occurs.sum(0) == 1).all():
        return Groups(members.astype(np.int64), tuple(values.tolist()))
    names = [f"{label}/{value}" for label in data.class_names for value in values.tolist()]
    empty = [name for name, filled in zip(names, occurs.ravel().tolist(), strict=True) if not filled]
    if empty:
        raise NotApplicableError(
            f"{expected}, and every pair of class and value must have an image. Got none of {empty}. Add images, or "
            "pass names of groups that each lie within one class, such as 'class/value', so that only those count."
        )
    return Groups(data.labels.numpy() * len(values) + members, tuple(names))


def _is_missing(value: Any) -> bool:
    """Whether this is None, NaN, NaT or pandas' NA."""
    return value is None or is_pandas_na(value) or bool(value != value)

"""Accuracy by finding, where several are told of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvlm_va.metrics.groups import GroupAccuracies, group_accuracies


def finding_accuracies(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    findings: Sequence[Any] | NDArray[Any],
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
) -> GroupAccuracies:
    """Return the accuracy with which each finding is told, its ``worst`` and ``worst_group`` among them.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n, K)
        Which findings each image has, and is said to have: 0 or 1.
    findings : sequence of length K
        Their names; those of `LVLMVAClassifier` are its ``classes_``.
    groups : array-like of shape (n,), default=None
        Group of each image; each then counts apart for each finding, as ``"effusion: tagged"``.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    GroupAccuracies
        A group for each finding, or finding and group. Prints as a table.

    Raises
    ------
    ValueError
        If shapes do not fit, there are no images, or `confidence` is not in (0, 1).

    Examples
    --------
    >>> print(finding_accuracies([[0, 1], [1, 1]], [[0, 1], [1, 0]], findings=["fracture", "effusion"]))
    group     accuracy  95% interval    images
    effusion     0.500  [0.095, 0.905]       2  worst
    fracture     1.000  [0.342, 1.000]       2
    """
    names = [str(name) for name in findings]
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    for argument, labels in (("y_true", true), ("y_pred", predicted)):
        if labels.ndim != 2 or labels.shape[1] != len(names):
            raise ValueError(
                f"The {argument!r} argument must be of shape (n, {len(names)}), a column for each finding. "
                f"Got shape {labels.shape} instead."
            )
    of_rows = [""] * len(true) if groups is None else [f": {group}" for group in np.asarray(groups).tolist()]
    if len(of_rows) != len(true):
        raise ValueError(
            f"The 'groups' argument must have one entry per image, {len(true)}. Got {len(of_rows)} instead."
        )
    cases = [f"{name}{group}" for group in of_rows for name in names]
    return group_accuracies(true.ravel(), predicted.ravel(), groups=cases, confidence=confidence)

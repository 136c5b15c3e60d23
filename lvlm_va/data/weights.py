"""How much each training image counts: by its class, and by what the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor


def row_weights(
    labels: NDArray[np.int64],
    classes: NDArray[Any],
    class_weight: Mapping[Any, float] | str | None,
    sample_weight: ArrayLike | None,
) -> Tensor | None:
    """Return weights (n,), float64, whose mean is 1; None where all images count alike.

    Parameters
    ----------
    labels : ndarray of shape (n,), or (n, K) for findings
        Class numbers.
    classes : ndarray of shape (n_classes,)
        Names of the classes.
    class_weight : mapping of class to float, "balanced" or None
        Factor of each class, 1 of those that it leaves out; ``"balanced"``: n / (n_classes * n_images of the class).
    sample_weight : array-like of shape (n,) or None
        Factor of each image.

    Raises
    ------
    ValueError
        If weights are negative, not finite, all 0, of another number, of unknown classes, or of classes where there are
        findings.
    """
    if class_weight is None and sample_weight is None:
        return None
    weights = np.ones(len(labels))
    if class_weight is not None:
        if labels.ndim > 1:
            raise ValueError(
                "The 'class_weight' argument must be None where y holds several findings. Pass 'sample_weight' instead."
            )
        if isinstance(class_weight, Mapping):
            unknown = [name for name in class_weight if name not in classes.tolist()]
            if unknown:
                raise ValueError(
                    f"The 'class_weight' argument must name classes, {classes.tolist()}. Got {unknown[0]!r} instead."
                )
        numbers = np.arange(len(classes))
        by_number = class_weight
        if isinstance(class_weight, Mapping):
            by_number = {
                number: class_weight[name]
                for number, name in enumerate(classes.tolist())
                if name in class_weight
            }
        weights *= compute_class_weight(by_number, classes=numbers, y=labels)[labels]
    if sample_weight is not None:
        given = np.asarray(sample_weight, dtype=np.float64)
        if given.shape != (len(labels),):
            raise ValueError(
                f"The 'sample_weight' argument must have shape ({len(labels)},). Got {given.shape} instead."
            )
        weights *= given
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            "The 'class_weight' and 'sample_weight' arguments must give finite weights >= 0, not all of them zero."
        )
    return torch.from_numpy(weights / weights.mean())


def balanced_repeats(labels: Tensor) -> Tensor:
    """Return how often each image comes in an epoch, so that all classes come about as often: int64 of shape (n,)."""
    counts = torch.bincount(labels)
    return (counts.max() / counts.clamp_min(1)).round().to(torch.int64)[labels]


def group_codes(patients: ArrayLike | None, n: int) -> Tensor | None:
    """Return the patients of n images as numbers (n,), int64; None for None.

    Images of nobody known (an empty name, None or NaN) are of a patient each.

    Raises
    ------
    ValueError
        If they are of another number, or all one.
    """
    if patients is None:
        return None
    names = np.asarray(patients)
    if names.shape != (n,):
        raise ValueError(f"The 'patients' argument must have shape ({n},). Got {names.shape} instead.")
    unknown = np.array([name is None or name == "" or name != name for name in names.tolist()], bool)
    found, codes = np.unique(names.astype(str), return_inverse=True)
    codes = np.where(unknown, len(found) + np.arange(n), codes.reshape(-1))
    if len(set(codes.tolist())) < 2:
        raise ValueError(f"The 'patients' argument must name two or more. Got {str(found[0])!r} alone.")
    return torch.from_numpy(codes).to(torch.int64)

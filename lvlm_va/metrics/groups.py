"""Accuracy by group: of the worst group, and on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvlm_va.common.html import html_table
from lvlm_va.metrics.intervals import wilson_interval
from lvlm_va.metrics.labels import check_one_type


@dataclass(frozen=True, eq=False)
class GroupAccuracies:
    """Accuracy of each group of images.

    Attributes
    ----------
    groups : ndarray of shape (G,)
        Names of the groups, sorted.
    accuracies : ndarray of shape (G,), float64
        Accuracy within each group, in [0, 1].
    sizes : ndarray of shape (G,), int64
        Number of images in each group.
    intervals : ndarray of shape (G, 2), float64
        Wilson intervals of the accuracies.
    confidence : float
        Confidence level of the intervals.
    """

    groups: NDArray[Any]
    accuracies: NDArray[np.float64]
    sizes: NDArray[np.int64]
    intervals: NDArray[np.float64]
    confidence: float

    @property
    def worst(self) -> float:
        """Accuracy of the worst group."""
        return float(self.accuracies.min())

    @property
    def worst_group(self) -> Any:
        """Name of the worst group; the first of equals."""
        return self.groups[self.accuracies.argmin()].item()

    @property
    def average(self) -> float:
        """Plain mean over the groups, whatever their sizes."""
        return float(self.accuracies.mean())

    @property
    def overall(self) -> float:
        """Accuracy over all images."""
        return float(self.accuracies @ self.sizes / self.sizes.sum())

    def __str__(self) -> str:
        names = [str(name) for name in self.groups.tolist()]
        width = max(len(name) for name in ["group", *names])
        lines = [f"{'group':<{width}}  accuracy  {f'{self.confidence:.0%} interval':<14}  images"]
        for i, (name, (low, high)) in enumerate(zip(names, self.intervals.tolist(), strict=True)):
            mark = "  worst" if i == self.accuracies.argmin() else ""
            accuracy, size = self.accuracies[i], self.sizes[i]
            lines.append(f"{name:<{width}}  {accuracy:8.3f}  [{low:.3f}, {high:.3f}]  {size:6d}{mark}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        order = self.accuracies.argsort(kind="stable").tolist()
        return html_table(
            f"Accuracy by group, the worst first; {self.confidence:.0%} intervals",
            ("group", "accuracy", "interval", "images"),
            [
                (
                    self.groups[i],
                    f"{self.accuracies[i]:.3f}",
                    "{:.3f} to {:.3f}".format(*self.intervals[i]),
                    self.sizes[i],
                )
                for i in order
            ],
        )


def group_accuracies(
    y_true: ArrayLike, y_pred: ArrayLike, *, groups: ArrayLike, confidence: float = 0.95
) -> GroupAccuracies:
    """Return the accuracy of each group, with its size and a confidence interval.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels.
    y_pred : array-like of shape (n,)
        Predicted labels.
    groups : array-like of shape (n,)
        Group of each image, for example ``"melanoma, plaster"``. Groups are usually the combinations of class
        and spurious attribute.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    GroupAccuracies
        Prints as a table.

    Raises
    ------
    ValueError
        If there are no images, lengths differ, some labels are text and some are numbers, or `confidence` is not in
        (0, 1).

    Examples
    --------
    >>> print(group_accuracies([0, 0, 1, 1], [0, 0, 1, 0], groups=["a", "a", "b", "b"]))
    group  accuracy  95% interval    images
    a         1.000  [0.342, 1.000]       2
    b         0.500  [0.095, 0.905]       2  worst
    """
    true, predicted = _labels("y_true", y_true), _labels("y_pred", y_pred)
    names, member = np.unique(_labels("groups", groups), return_inverse=True)
    if not len(true):
        raise ValueError("The 'y_true' argument must hold at least one label. Got none instead.")
    for name, length in (("y_pred", len(predicted)), ("groups", len(member))):
        if length != len(true):
            raise ValueError(
                f"The {name!r} argument must have one entry per label in 'y_true', {len(true)}. "
                f"Got {length} instead."
            )
    check_one_type(true, predicted)
    sizes = np.bincount(member)
    correct = np.bincount(member, weights=true == predicted).astype(np.int64)
    intervals = [
        wilson_interval(k, n, confidence) for k, n in zip(correct.tolist(), sizes.tolist(), strict=True)
    ]
    return GroupAccuracies(names, correct / sizes, sizes, np.array(intervals), confidence)


def worst_group_accuracy(y_true: ArrayLike, y_pred: ArrayLike, *, groups: ArrayLike) -> float:
    """Return the worst-group accuracy (WGA): the smallest accuracy of any group.

    Parameters
    ----------
    y_true, y_pred, groups : array-like of shape (n,)
        As for `group_accuracies`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If there are no images, lengths differ, or some labels are text and some are numbers.

    Examples
    --------
    >>> worst_group_accuracy([0, 0, 1, 1], [0, 0, 1, 0], groups=["a", "a", "b", "b"])
    0.5

    As a scorer, with the groups routed as metadata:

    >>> import sklearn
    >>> from sklearn.metrics import make_scorer
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     scorer = make_scorer(worst_group_accuracy).set_score_request(groups=True)
    """
    return group_accuracies(y_true, y_pred, groups=groups).worst


def average_group_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, groups: ArrayLike, train_groups: ArrayLike | None = None
) -> float:
    """Return the average-group accuracy (AGA), plain or weighted by the groups' shares in the training data.

    The literature uses both under one name: the plain mean over groups, and (in the papers on JTT and DFR)
    ``sum_g share_train(g) accuracy_g``. Say which one you report.

    Parameters
    ----------
    y_true, y_pred, groups : array-like of shape (n,)
        As for `group_accuracies`.
    train_groups : array-like of shape (m,), optional
        Groups of the training images. With it the mean is weighted by their shares (a group that is not among
        them weighs nothing); without it every group counts the same.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If there are no images, lengths differ, or a training group has no image here.

    Examples
    --------
    >>> y_true, y_pred, groups = [0, 0, 1, 1], [0, 0, 1, 0], ["a", "a", "b", "b"]
    >>> average_group_accuracy(y_true, y_pred, groups=groups)
    0.75
    >>> average_group_accuracy(y_true, y_pred, groups=groups, train_groups=["a", "a", "a", "b"])
    0.875
    """
    result = group_accuracies(y_true, y_pred, groups=groups)
    if train_groups is None:
        return result.average
    names, counts = np.unique(_labels("train_groups", train_groups), return_counts=True)
    if not len(names):
        raise ValueError("The 'train_groups' argument must hold at least one group. Got none instead.")
    missing = sorted(set(names.tolist()) - set(result.groups.tolist()), key=str)
    if missing:
        raise ValueError(
            "The 'train_groups' argument must hold groups that occur in 'groups' too: the accuracy of others "
            f"is unknown. Got {missing} beside them instead. Use a larger test set, or train_groups=None for "
            "the plain mean."
        )
    accuracy = dict(zip(result.groups.tolist(), result.accuracies.tolist(), strict=True))
    return float(np.average([accuracy[name] for name in names.tolist()], weights=counts))


def _labels(name: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"The {name!r} argument must have shape (n,). Got {array.shape} instead.")
    return array

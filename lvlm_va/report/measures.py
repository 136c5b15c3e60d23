"""How right a classifier is, and how right its reasons are, before and after alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lvlm_va.common.html import html_table
from lvlm_va.metrics import GroupAccuracies, group_accuracies

MEASURES = (
    "accuracy",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "average_group_accuracy",
    "alignment",
)


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one classifier.

    Attributes
    ----------
    groups, classes : GroupAccuracies
        Accuracy of each group and of each class; the same where no groups are known.
    alignment : float or None
        Share of absolute attribution that lies outside the spurious pixels, in [0, 1]; None where these are unknown.
    """

    groups: GroupAccuracies
    classes: GroupAccuracies
    alignment: float | None = None

    @classmethod
    def of(
        cls,
        labels: ArrayLike,
        predictions: ArrayLike,
        groups: ArrayLike | None = None,
        alignment: float | None = None,
    ) -> Measured:
        """Return what these predictions amount to; the arguments are of shape (n,)."""
        names = labels if groups is None else groups
        return cls(
            group_accuracies(labels, predictions, groups=np.asarray(names).astype(str)),
            group_accuracies(labels, predictions, groups=np.asarray(labels).astype(str)),
            alignment,
        )

    def figures(self) -> dict[str, float]:
        """Return the `MEASURES` that are known by name; the average over groups is plain."""
        groups, worst_class = self.groups, self.classes.worst
        values = (groups.overall, worst_class, groups.worst, groups.average, self.alignment)
        return {name: value for name, value in zip(MEASURES, values, strict=True) if value is not None}


@dataclass(frozen=True, eq=False)
class Measures:
    """What was measured before and after alignment, on the same images.

    Attributes
    ----------
    images : str
        Which images, in words: ``"test images"``.
    grouped : bool
        Whether the groups are others than the classes.
    before, after : Measured
        The classifier before and after.
    n_explained : int or None
        On how many of the images, drawn at random, the alignment was measured; None where it was not, or on all.
    """

    images: str
    grouped: bool
    before: Measured
    after: Measured
    n_explained: int | None = None

    def _repr_html_(self) -> str:
        after = self.after.figures()
        return html_table(
            f"On {self.images}",
            ("measure", "before", "after"),
            [
                (name.replace("_", " "), f"{value:.3f}", f"{after[name]:.3f}")
                for name, value in self.before.figures().items()
            ],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the measures as a JSON object."""
        return {
            "images": self.images,
            "grouped": self.grouped,
            "before": _measured_to_json(self.before),
            "after": _measured_to_json(self.after),
            "n_explained": self.n_explained,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Measures:
        """Return the measures that `to_json` wrote.

        Parameters
        ----------
        found : mapping
            What was written.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is no such object.
        """
        return cls(
            str(found["images"]),
            bool(found["grouped"]),
            _measured_from_json(found["before"]),
            _measured_from_json(found["after"]),
            None if found.get("n_explained") is None else int(found["n_explained"]),
        )


def _measured_to_json(measured: Measured) -> dict[str, Any]:
    return {
        "groups": _groups_to_json(measured.groups),
        "classes": _groups_to_json(measured.classes),
        "alignment": measured.alignment,
    }


def _measured_from_json(found: Mapping[str, Any]) -> Measured:
    alignment = found["alignment"]
    return Measured(
        _groups_from_json(found["groups"]),
        _groups_from_json(found["classes"]),
        None if alignment is None else float(alignment),
    )


def _groups_to_json(groups: GroupAccuracies) -> dict[str, Any]:
    return {
        "groups": groups.groups.tolist(),
        "accuracies": groups.accuracies.tolist(),
        "sizes": groups.sizes.tolist(),
        "intervals": groups.intervals.tolist(),
        "confidence": groups.confidence,
    }


def _groups_from_json(found: Mapping[str, Any]) -> GroupAccuracies:
    groups = GroupAccuracies(
        np.asarray(found["groups"], dtype=str),
        np.asarray(found["accuracies"], dtype=np.float64),
        np.asarray(found["sizes"], dtype=np.int64),
        np.asarray(found["intervals"], dtype=np.float64),
        float(found["confidence"]),
    )
    n = len(groups.groups)
    if not n or (len(groups.accuracies), len(groups.sizes), groups.intervals.shape) != (n, n, (n, 2)):
        raise ValueError("Groups, accuracies, sizes and intervals must be of one length, not 0.")
    return groups

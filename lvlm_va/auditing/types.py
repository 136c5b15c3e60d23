"""What an audit finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.auditing.diffuse import FEWEST, DiffuseFinding
from lvlm_va.auditing.regions import RegionTable
from lvlm_va.auditing.swaps import Swaps

# Families that are printed.
_N_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Family:
    """Regions of many images that are the same thing to the classifier.

    Attributes
    ----------
    number : int
        From 1, the most suspicious first.
    members : ndarray of shape (m,), int64
        Its regions: rows of `Audit.table`.
    exemplars : ndarray of shape (k,), int64
        The most typical of them, of different images, at most 8.
    images : ndarray of shape (k, H, W, 3), uint8
        Those images as a person sees them.
    masks : ndarray of shape (k, H, W), bool
        Where the exemplars are in them.
    n_images : int
        Images that have one.
    share : float
        Share of all images' effect in its regions, in [0, 1].
    classes : mapping of str to float
        The predicted classes that it speaks for, and the share of its regions for each, the largest first.
    place : tuple of float
        Mean centre (row, column) of its regions, in [0, 1].
    area : float
        Mean share of the image that a region covers.
    swaps : Swaps
        What putting its regions into other images did, and taking them out.
    suspicion : float
        See `lvlm_va.auditing.suspicion`.
    alarming : bool
        See `lvlm_va.auditing.alarming`.
    after : Swaps or None
        The same of the classifier after alignment; None where there is none.
    """

    number: int
    members: NDArray[np.int64]
    exemplars: NDArray[np.int64]
    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    n_images: int
    share: float
    classes: Mapping[str, float]
    place: tuple[float, float]
    area: float
    swaps: Swaps
    suspicion: float
    alarming: bool
    after: Swaps | None = None

    @property
    def where(self) -> str:
        """Where its regions lie, in words."""
        row, column = (min(2, int(3 * part)) for part in self.place)
        if row == column == 1:
            return "in the middle"
        side = " ".join(part for part in (("top", "", "bottom")[row], ("left", "", "right")[column]) if part)
        return f"at the {side}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, without the regions."""
        return {
            "number": self.number,
            "n_regions": len(self.members),
            "n_images": self.n_images,
            "share": self.share,
            "classes": dict(self.classes),
            "place": list(self.place),
            "area": self.area,
            "suspicion": self.suspicion,
            "alarming": self.alarming,
            "swaps": self.swaps.to_json(),
            "after": None if self.after is None else self.after.to_json(),
        }

    def __str__(self) -> str:
        speaks = ", ".join(f"{name} ({share:.0%})" for name, share in list(self.classes.items())[:2])
        alarm = "  <- suspicious" if self.alarming else ""
        later = "" if self.after is None else f"; after alignment {self.after.transplants}"
        return (
            f"{self.number:2d}. {self.where}, {self.area:.1%} of the image, in {self.n_images} images, "
            f"{self.share:.1%} of the effect, speaks for {speaks}: put into images of other classes it changed "
            f"{self.swaps.transplants}{later}; control: {self.swaps.controls.changed} of {self.swaps.controls.n}{alarm}"
        )


@dataclass(frozen=True, eq=False)
class Audit:
    """What a classifier relies on, the most suspicious first.

    Attributes
    ----------
    families : tuple of Family
        Families of regions, by falling suspicion.
    n_images : int
        Images that were explained.
    class_names : tuple of str
        The classes.
    covered : float
        Share of all images' effect that is in a family.
    accuracy : float or None
        How often the classifier is right about these images; None without labels.
    diffuse : tuple of DiffuseFinding
        What setting whole images to another class's brightness, sharpness and so on did, the most suspicious first;
        none where images lie outside [0, 1], or are fewer than 20.
    table : RegionTable
        All regions.
    families_of_regions : ndarray of shape (r,), int64
        Number of each region's family; 0 for none.
    seconds : mapping of str to float
        Wall-clock seconds of each stage.
    """

    families: tuple[Family, ...]
    n_images: int
    class_names: tuple[str, ...]
    covered: float
    accuracy: float | None
    diffuse: tuple[DiffuseFinding, ...]
    table: RegionTable = field(repr=False)
    families_of_regions: NDArray[np.int64] = field(repr=False)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def alarms(self) -> tuple[Family, ...]:
        """The families that are an alarm."""
        return tuple(family for family in self.families if family.alarming)

    @property
    def diffuse_alarms(self) -> tuple[DiffuseFinding, ...]:
        """What of whole images is an alarm: masks cannot mend it."""
        return tuple(found for found in self.diffuse if found.alarming)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, without the regions."""
        return {
            "n_images": self.n_images,
            "class_names": list(self.class_names),
            "covered": self.covered,
            "accuracy": self.accuracy,
            "families": [family.to_json() for family in self.families],
            "diffuse": [found.to_json() for found in self.diffuse],
            "seconds": dict(self.seconds),
        }

    def __str__(self) -> str:
        n = len(self.alarms)
        verdict = (
            f"{n} of {len(self.families)} families of regions look like a shortcut."
            if n
            else f"None of {len(self.families)} families of regions looks like a shortcut."
        )
        shown = self.families[: max(_N_SHOWN, n)]
        whole = [
            f"{found} It has no place, so masks cannot mend it; augmentation can: {found.advice}."
            for found in self.diffuse_alarms
        ]
        if not self.diffuse:
            whole = [f"Whole images were not tried: that needs {FEWEST} images with values in [0, 1]."]
        verdict = f"{verdict} From {self.n_images} images, the most suspicious:"
        return "\n".join([*whole, verdict, *map(str, shown)])

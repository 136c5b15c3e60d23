"""Whether one classifier is right more or less often than another on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from scipy.stats import binomtest
from torch import Tensor

# One-sided level at which a difference is more than noise.
_LEVEL = 0.05


@dataclass(frozen=True)
class PairedAccuracy:
    """How often a classifier is right before and after a change, on the same images.

    Attributes
    ----------
    n : int
        Images, at least 1.
    before, after : int
        How many were right.
    lost : int
        How many of these were right before only.
    """

    n: int
    before: int
    after: int
    lost: int

    def __post_init__(self) -> None:
        if not (
            self.n >= 1
            and 0 <= self.lost <= self.before <= self.n
            and 0 <= self.gained <= self.n - self.before
        ):
            raise ValueError(f"There are no images of which this could be true: {asdict(self)}.")

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> Self:
        """Return the counts of two tensors (n,), bool, n >= 1: whether each image was right."""
        counts = (int(found.sum()) for found in (before, after, before & ~after))
        return cls(len(before), *counts)

    @property
    def gained(self) -> int:
        """How many were right after only."""
        return self.after - self.before + self.lost

    def fell(self) -> bool:
        """Whether fewer are right after, by more than noise (McNemar 1947, exact and one-sided, at 0.05)."""
        return _is_more(self.lost, self.gained)

    def rose(self) -> bool:
        """Whether more are right after, by more than noise."""
        return _is_more(self.gained, self.lost)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote.

        Parameters
        ----------
        found : mapping
            What was written.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is no such object.
        """
        return cls(*(int(found[name]) for name in ("n", "before", "after", "lost")))


def _is_more(one: int, other: int) -> bool:
    if one <= other:
        return False
    return float(binomtest(one, one + other, 0.5, alternative="greater").pvalue) < _LEVEL

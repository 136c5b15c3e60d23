"""The usual names of splits."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "validation", "test"]

_USUAL: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def usual_split(name: str) -> Split | None:
    """Return what a split of this name is for, whatever its letters' case; None where that is not known."""
    return _USUAL.get(name.lower())

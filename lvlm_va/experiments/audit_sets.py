"""Data sets to audit: those of the comparisons, and three whose shortcut moves, lies over the object, or is rare."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvlm_va.datasets import (
    DecoyData,
    bandaged_lesions,
    decoy_digits,
    decoy_mnist,
    ruled_leaves,
    stamped_castings,
    tagged_radiographs,
)
from lvlm_va.datasets.idx import Split
from lvlm_va.experiments.tasks import DECOY_DIGITS, Task, decoy_mnist_task, make_tasks

Mark = Callable[[int, np.random.Generator], tuple[int, int, NDArray[np.bool_]]]
# (split, seed, shortcut) -> data
Loader = Callable[[Split, int, bool], DecoyData]

_SIZES = {"train": 600, "test": 400}
_SIZE = 48


@dataclass(frozen=True)
class AuditSet:
    """A data set with and without its shortcut.

    Attributes
    ----------
    load : callable
        ``(split, seed, shortcut) -> DecoyData``; without the shortcut the images are otherwise the same.
    task : Task
        The net and the settings that suit it.
    words : str
        The set of the exam whose names and descriptions of classes are those of this set.
    """

    load: Loader
    task: Task
    words: str


def make_audit_sets(mnist: str | os.PathLike[str] | None = None) -> dict[str, AuditSet]:
    """Return the data sets by name; Decoy-MNIST only with the folder of its files."""
    drawn = make_tasks(quick=True, mnist=None, fashion=None)["tagged-radiographs"]

    def made(make: Callable[..., DecoyData], words: str) -> AuditSet:
        return AuditSet(
            lambda split, seed, shortcut: make(split, _SIZES[split], _SIZE, seed, shortcut=shortcut),
            drawn,
            words,
        )

    def marked(
        make: Callable[..., DecoyData], words: str, mark: Mark, chances: Mapping[int, float]
    ) -> AuditSet:
        def load(split: Split, seed: int, shortcut: bool) -> DecoyData:
            plain = make(split, _SIZES[split], _SIZE, seed, shortcut=False)
            return with_marks(plain, mark, chances, split, seed) if shortcut else plain

        return AuditSet(load, drawn, words)

    sets = {
        "decoy-digits": AuditSet(
            lambda split, seed, shortcut: _with_or_without(decoy_digits(split, random_state=seed), shortcut),
            DECOY_DIGITS,
            "digits",
        ),
        "tagged-radiographs": made(tagged_radiographs, "radiographs"),
        "bandaged-lesions": made(bandaged_lesions, "lesions"),
        "moving-cross": marked(tagged_radiographs, "radiographs", moving_cross, {0: 0.1, 1: 0.9}),
        "bar-over-leaf": marked(ruled_leaves, "leaves", bar_over_object, {0: 0.1, 1: 0.9}),
        "rare-ring": marked(stamped_castings, "castings", ring_in_corner, {0: 0.0, 1: 0.1}),
    }
    if mnist is not None:
        sets["decoy-mnist"] = AuditSet(
            lambda split, seed, shortcut: _with_or_without(
                decoy_mnist(mnist, split=split, random_state=seed), shortcut
            ),
            decoy_mnist_task(mnist),
            "digits",
        )
    return sets


def with_marks(
    data: DecoyData, mark: Mark, chances: Mapping[int, float], split: Split, seed: int
) -> DecoyData:
    """Return images of which some have a mark that in training tells the class, and in the test does not.

    Parameters
    ----------
    data : DecoyData
        Images without a shortcut.
    mark : callable
        ``(side, generator) -> (row, column, shape)``: where a mark lies, and its pixels.
    chances : mapping of int to float
        In training, how often images of each class have it; in the test half of each do.
    split : {"train", "test"}
        Which.
    seed : int
        Of the marks.

    Returns
    -------
    DecoyData
        Grey images with white marks, others with blue ones.
    """
    rng = np.random.default_rng([seed, split == "test"])
    images, masks = data.images.copy(), np.zeros((len(data.images), *data.images.shape[2:]), bool)
    colour = np.array([0.97] if images.shape[1] == 1 else [0.15, 0.35, 0.9], np.float32)
    has = np.zeros(len(images), bool)
    for i, label in enumerate(data.labels.tolist()):
        has[i] = rng.random() < (chances[label] if split == "train" else 0.5)
        row, column, shape = mark(images.shape[2], rng)
        if has[i]:
            masks[i, row : row + shape.shape[0], column : column + shape.shape[1]] = shape
    images = np.where(masks[:, None], colour[:, None, None], images)
    classes = [group.partition("/")[0] for group in data.groups]
    groups = [f"{name}/{'marked' if there else 'plain'}" for name, there in zip(classes, has, strict=True)]
    return DecoyData(images, data.labels, masks, np.array(groups), data.objects)


def moving_cross(side: int, rng: np.random.Generator) -> tuple[int, int, NDArray[np.bool_]]:
    """Return a cross, a seventh of the image wide, anywhere."""
    width = side // 7 | 1
    shape = np.zeros((width, width), bool)
    shape[width // 2] = shape[:, width // 2] = True
    row, column = rng.integers(0, side - width + 1, 2).tolist()
    return row, column, shape


def bar_over_object(side: int, rng: np.random.Generator) -> tuple[int, int, NDArray[np.bool_]]:
    """Return a bar, a third of the image long, over the middle, where the object is."""
    shape = np.ones((max(2, side // 16), side // 3), bool)
    row, column = (
        int(np.clip((side - length) / 2 + rng.normal(0, side / 16), 0, side - length))
        for length in shape.shape
    )
    return row, column, shape


def ring_in_corner(side: int, rng: np.random.Generator) -> tuple[int, int, NDArray[np.bool_]]:
    """Return a ring, a sixth of the image wide, at the top left."""
    width = side // 6 | 1
    distance = np.hypot(*(np.mgrid[:width, :width] - width // 2))
    row, column = (side // 10 + rng.integers(-1, 2, 2)).tolist()
    return row, column, (distance <= width / 2) & (distance >= width / 2 - 2)


def _with_or_without(data: DecoyData, shortcut: bool) -> DecoyData:
    """Return images of a grey patch on black, or without it."""
    if shortcut:
        return data
    images = np.where(data.masks[:, None], np.float32(0), data.images)
    return DecoyData(images, data.labels, np.zeros_like(data.masks), data.groups, data.objects)

"""The data sets of the comparisons, each with the net and the settings that suit it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lvlm_va.datasets import (
    DecoyData,
    bandaged_lesions,
    decoy_digits,
    decoy_fashion_mnist,
    decoy_mnist,
    tagged_radiographs,
)
from lvlm_va.datasets.decoy import Variant
from lvlm_va.datasets.idx import Split

# (split, seed) -> data
Loader = Callable[[Split, int], DecoyData]


@dataclass(frozen=True)
class TrainingSettings:
    """How a net is trained and aligned; see `lvlm_va.LVLMVAClassifier`."""

    module: str
    epochs: int
    align_epochs: int
    batch_size: int
    lr: float = 1e-3
    schedule: str | None = None
    n_references: int = 20


@dataclass(frozen=True)
class Task:
    """A data set with its settings.

    Attributes
    ----------
    load : callable
        ``(split, seed) -> DecoyData``, for ``"train"`` and ``"test"``.
    images : str
        Their number and size, in words.
    settings : TrainingSettings
        The same for every method.
    n_align : int
        Images critiqued.
    propagate : int
        Images that the verdicts are extended to.
    n_explained : int or None
        Test images that alignment is measured on; None: all.
    files : tuple of Path
        What `load` reads; with other contents, kept rows are made again.
    specifications : mapping of str to str, or None
        What an expert says of the classes, for critics that read.
    own_references : bool
        Whether alignment is measured against the references that the methods draw; otherwise against others.
    start_seed : int or None
        Seed of the plainly trained net; None: the experiment's.
    exam_set : str or None
        The set of the exam whose images are critiqued; None: they are drawn at random.
    """

    load: Loader
    images: str
    settings: TrainingSettings
    n_align: int
    propagate: int
    n_explained: int | None = None
    files: tuple[Path, ...] = ()
    specifications: Mapping[str, str] | None = None
    own_references: bool = False
    start_seed: int | None = None
    exam_set: str | None = None


_MLP = TrainingSettings("mlp", epochs=12, align_epochs=12, batch_size=256)
# 1,078 images only: smaller batches and more epochs than on MNIST give as many steps.
_DIGITS = TrainingSettings("mlp", epochs=40, align_epochs=40, batch_size=32)
# Of a convolutional net the last steps at a constant rate decide which group is worst.
_FASHION = TrainingSettings("cnn", 6, 6, batch_size=64, schedule="cosine", n_references=5)
_RESNET = TrainingSettings("resnet8", 8, 8, batch_size=16, schedule="cosine", n_references=5)
_QUICK_RESNET = TrainingSettings("resnet8", 12, 12, batch_size=16, schedule="cosine", n_references=5)
# Of Fashion-MNIST's 60,000: a convolutional net with a second backward pass takes its time.
_FASHION_LIMITS = {"train": 6000, "test": None}

DESCRIPTION = "The digit counts. The patch in the corner does not matter."
_SPECIFICATIONS = {str(label): DESCRIPTION for label in range(10)}

DECOY_DIGITS = Task(
    lambda split, seed: decoy_digits(split, random_state=seed),
    "1,078 of 28 x 28 pixels, tested on 719",
    _DIGITS,
    150,
    10_000,
    specifications=_SPECIFICATIONS,
)


def decoy_mnist_task(folder: str | os.PathLike[str], variant: Variant = "ross") -> Task:
    """Return Decoy-MNIST, or the same of Fashion-MNIST, from a folder of idx files."""
    return Task(
        lambda split, seed: decoy_mnist(folder, variant=variant, split=split, random_state=seed),
        "60,000 of 28 x 28 pixels, tested on 10,000",
        _MLP,
        300,
        12_000,
        files=_idx_files(folder),
        specifications=_SPECIFICATIONS,
    )


def make_tasks(
    *, quick: bool, mnist: str | os.PathLike[str] | None, fashion: str | os.PathLike[str] | None
) -> dict[str, Task]:
    """Return the data sets by name.

    Parameters
    ----------
    quick : bool
        Small nets and few images instead of the full settings; the MNISTs, which are not bundled, are left out.
    mnist, fashion : path-like or None
        Folders with the idx files of MNIST and Fashion-MNIST; without them their decoyed versions are left out.

    Returns
    -------
    dict of str to Task
        In the order of the tables.
    """
    tasks = {
        "decoy-digits": DECOY_DIGITS,
        "tagged-radiographs": _drawn(tagged_radiographs, quick),
        "bandaged-lesions": _drawn(bandaged_lesions, quick),
    }
    if not quick and mnist is not None:
        tasks["decoy-mnist"] = decoy_mnist_task(mnist)
    if not quick and fashion is not None:
        tasks["decoy-fashion-mnist"] = Task(
            lambda split, seed: decoy_fashion_mnist(
                fashion, split=split, random_state=seed, limit=_FASHION_LIMITS[split]
            ),
            "6,000 of 28 x 28 pixels, tested on 10,000",
            _FASHION,
            300,
            10_000,
            n_explained=500,
            files=_idx_files(fashion),
        )
    return tasks


def _idx_files(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    return tuple(sorted(Path(folder).glob("*-ubyte*")))


def _drawn(make: Callable[..., DecoyData], quick: bool) -> Task:
    sizes, size = ({"train": 600, "test": 400}, 48) if quick else ({"train": 2000, "test": 1000}, 64)
    return Task(
        lambda split, seed: make(split, n=sizes[split], size=size, seed=seed),
        f"{sizes['train']:,} of {size} x {size} pixels, tested on {sizes['test']:,}",
        _QUICK_RESNET if quick else _RESNET,
        100 if quick else 300,
        10_000,
        n_explained=100,
    )

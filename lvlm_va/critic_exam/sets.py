"""The drawn sets of the exam: images with known shortcuts, the segments of a net trained on them, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique import CritiqueRequest, build_requests
from lvlm_va.datasets import DecoyData, castings, decoy_digits, leaves, lesions, radiographs
from lvlm_va.datasets.canvas import Recipe, generate
from lvlm_va.datasets.idx import Split

# Of the images and the nets; for nothing else.
EXAM_SEED = 4242
_SIZE = 128
# A segment is an artefact where at least this share of its effect lies in the shortcut.
SPURIOUS_FROM = 0.5

SHEETS = Path(str(files("lvlm_va.critic_exam") / "sheets"))
# What a large vision-language model answered that saw pictures and questions, and nothing else.
RECORDED = SHEETS.parent / "recorded" / "replies.jsonl"

_DIGITS = (
    "The handwritten digit counts: its strokes, where they run, and the gaps between them. The grey patch in a corner "
    "of the image must not count."
)


@dataclass(frozen=True)
class ExamNet:
    """The net whose segments are shown, and how `EXAM_SEED` trains it.

    Attributes
    ----------
    module : str
        Name of a built-in net.
    n : int
        Number of training images.
    epochs, batch_size, schedule, n_references
        As in `lvlm_va.LVLMVAClassifier`.
    """

    module: str
    n: int
    epochs: int
    batch_size: int
    schedule: str | None
    n_references: int

    def training(self) -> dict[str, Any]:
        """Return the parameters of training, by name."""
        return {name: value for name, value in asdict(self).items() if name not in ("module", "n")}


@dataclass(frozen=True)
class ExamSet:
    """A drawn set.

    Attributes
    ----------
    load : callable
        Split, number of images, and which of them (None for all), to a `DecoyData`. Questions are of training images.
    classes : tuple of str
        Names of the classes, by number.
    specifications : mapping of int to str
        What an expert says should count, by class number.
    net : ExamNet
        What was trained on it.
    """

    load: Callable[[Split, int, Sequence[int] | None], DecoyData]
    classes: tuple[str, ...]
    specifications: Mapping[int, str]
    net: ExamNet = ExamNet("resnet8", 800, epochs=10, batch_size=16, schedule="cosine", n_references=5)


@dataclass(frozen=True, eq=False)
class Questions:
    """What a critic is asked about one set, and what is true.

    Attributes
    ----------
    name : str
        Of the set.
    requests : tuple of CritiqueRequest
        Images and segments.
    inside : ndarray of shape (n, J), float32
        Share of each segment's effect that lies in the shortcut; NaN past an image's number of segments.
    shares : ndarray of shape (n, J), float32
        Share of the image's effect in each segment.
    """

    name: str
    requests: tuple[CritiqueRequest, ...]
    inside: NDArray[np.float32]
    shares: NDArray[np.float32]

    @property
    def spurious(self) -> NDArray[np.bool_]:
        """Whether each segment is an artefact: bool of shape (n, J)."""
        return np.nan_to_num(self.inside) >= SPURIOUS_FROM


def _drawn(recipe: Recipe, specifications: Mapping[int, str]) -> ExamSet:
    return ExamSet(
        lambda split, n, rows: generate(recipe, split, n, _SIZE, EXAM_SEED, rows=rows),
        recipe.classes,
        specifications,
    )


def _digits(split: Split, n: int, rows: Sequence[int] | None) -> DecoyData:
    data = decoy_digits(split, random_state=EXAM_SEED)
    if rows is None:
        return data
    return DecoyData(data.images[rows], data.labels[rows], data.masks[rows], data.groups[rows])


SETS: dict[str, ExamSet] = {
    "digits": ExamSet(
        _digits,
        tuple(map(str, range(10))),
        dict.fromkeys(range(10), _DIGITS),
        ExamNet("mlp", 1078, epochs=40, batch_size=32, schedule=None, n_references=20),
    ),
    "radiographs": _drawn(radiographs.RECIPE, radiographs.RADIOGRAPH_SPECIFICATIONS),
    "lesions": _drawn(lesions.RECIPE, lesions.LESION_SPECIFICATIONS),
    "leaves": _drawn(leaves.RECIPE, leaves.LEAF_SPECIFICATIONS),
    "castings": _drawn(castings.RECIPE, castings.CASTING_SPECIFICATIONS),
}


def load_questions(name: str, n_images: int | None = None) -> Questions:
    """Return the questions of a set.

    Parameters
    ----------
    name : str
        Of the set, from `SETS`.
    n_images : int or None, default=None
        How many images, spread evenly over all; None: all.

    Returns
    -------
    Questions
        In the order of the images. Their names are the set's and a number, as in ``"lesions-017"``.
    """
    with np.load(SHEETS / f"{name}.npz", allow_pickle=False) as sheet:
        kept: dict[str, Any] = dict(sheet)
    chosen = np.arange(len(kept["rows"]))
    if n_images is not None and n_images < len(chosen):
        chosen = np.unique(np.linspace(0, len(chosen) - 1, n_images).round().astype(int))
    rows, segments, shares = kept["rows"][chosen], kept["segments"][chosen], kept["shares"][chosen]
    exam = SETS[name]
    data = exam.load("train", int(rows.max()) + 1, rows.tolist())
    labels = data.labels.tolist()
    requests = build_requests(
        data.images,
        segments.astype(np.int64),
        _spread(segments, shares),
        indices=rows,
        image_ids=[f"{name}-{number:03d}" for number in chosen],
        labels=[exam.classes[label] for label in labels],
        descriptions=[exam.specifications[label] for label in labels],
    )
    return Questions(name, tuple(requests), kept["inside"][chosen], shares)


def _spread(segments: NDArray[np.uint8], shares: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each segment's share of the effect, evenly over its pixels."""
    effect = np.zeros(segments.shape)
    for j in range(shares.shape[1]):
        inside = segments == j + 1
        area = inside.sum((1, 2), keepdims=True)
        effect += inside * (shares[:, j, None, None] / np.maximum(area, 1))
    return effect

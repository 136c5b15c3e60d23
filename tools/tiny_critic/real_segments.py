"""Segments of real decoy digits, and whether each lies on the patch: what the tiny critic is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique import Critique, CritiqueRequest, OracleCritic
from lvlm_va.critique.tiny.segment_view import Mask
from lvlm_va.datasets import decoy_digits
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.methods import estimator_parameters
from lvlm_va.experiments.tasks import DECOY_DIGITS

# Grey value, in [0, 255], of a pixel that belongs to a stroke.
_STROKE = 64
_RADIUS = 5


@dataclass(frozen=True, eq=False)
class KnownSegments:
    """An image with segments, and the truth about them.

    Attributes
    ----------
    request : CritiqueRequest
        The image; its description is yet to be filled in.
    on_patch : tuple of bool
        For each segment, whether it lies on the patch as `OracleCritic` decides it: by half of its effect.
    """

    request: CritiqueRequest
    on_patch: tuple[bool, ...]


def ppeps_segments(n_images: int, seed: int = 0) -> list[KnownSegments]:
    """Return segments as the pipeline makes them, by PPEPS-WGM from a net that learnt the patch."""
    return _of_pipeline(n_images, seed, "ppeps_wgm")


def region_segments(n_images: int, seed: int = 0) -> list[KnownSegments]:
    """Return the regions of the same net."""
    return _of_pipeline(n_images, seed, "regions")


def _of_pipeline(n_images: int, seed: int, segmenter: str) -> list[KnownSegments]:
    data = decoy_digits("train", random_state=seed)
    critic = _Recorder(OracleCritic(data.masks))
    changes = {"critic": critic, "n_align": n_images, "align_epochs": 0, "segmenter": segmenter}
    parameters = estimator_parameters(DECOY_DIGITS) | changes
    LVLMVAClassifier(**parameters, random_state=seed).fit(data.images, data.labels)
    return critic.seen


def ideal_segments(n_images: int, seed: int = 0) -> list[KnownSegments]:
    """Return three segments per digit: the patch, the strokes near a random point, and the other strokes."""
    return [_cut(digit, _ideal(digit)) for digit in _digits(n_images, seed)]


def straddling_segments(n_images: int, seed: int = 0) -> list[KnownSegments]:
    """Return one segment per digit that covers both: mostly the patch, or mostly strokes near it."""
    return [_cut(digit, _straddling(digit)) for digit in _digits(n_images, seed)]


def describe_all(known: Sequence[KnownSegments], descriptions: Sequence[str]) -> list[CritiqueRequest]:
    """Return the requests with a description each."""
    return [replace(k.request, description=text) for k, text in zip(known, descriptions, strict=True)]


@dataclass(frozen=True, eq=False)
class _Digit:
    row: int
    label: str
    grey: NDArray[np.uint8]
    patch: Mask
    strokes: Mask
    rng: np.random.Generator


def _digits(n: int, seed: int) -> Iterator[_Digit]:
    data = decoy_digits("train", random_state=seed)
    rng = np.random.default_rng(seed)
    for row in rng.permutation(len(data.images))[:n].tolist():
        grey = np.rint(255 * data.images[row, 0]).astype(np.uint8)
        patch = data.masks[row]
        yield _Digit(row, str(data.labels[row]), grey, patch, (grey > _STROKE) & ~patch, rng)


def _ideal(digit: _Digit) -> list[Mask]:
    centre = digit.rng.choice(np.argwhere(digit.strokes))
    near = digit.strokes & (_distance(digit.grey.shape, centre) <= _RADIUS)
    return [part for part in (digit.patch, near, digit.strokes & ~near) if part.any()]


def _straddling(digit: _Digit) -> list[Mask]:
    size = digit.patch.sum()
    # Strokes per pixel of patch: so few that the patch prevails, or so many that the strokes do.
    ratio = digit.rng.uniform(0.25, 0.6) if digit.rng.random() < 0.5 else digit.rng.uniform(1.7, 4)
    distance = _distance(digit.grey.shape, np.argwhere(digit.patch).mean(0))[digit.strokes]
    near = np.zeros_like(digit.patch)
    near[digit.strokes] = distance.argsort(kind="stable").argsort(kind="stable") < round(ratio * size)
    return [digit.patch | near]


def _cut(digit: _Digit, parts: Sequence[Mask]) -> KnownSegments:
    """Return an image with the given segments, the effect spread evenly over them."""
    segments = np.zeros(digit.grey.shape, np.int64)
    for number, part in enumerate(parts, start=1):
        segments[part] = number
    image = np.repeat(digit.grey[..., None], 3, axis=2)
    effect = (segments > 0) / (segments > 0).sum()
    request = CritiqueRequest(digit.row, f"digit-{digit.row}", image, segments, effect, digit.label)
    return KnownSegments(request, tuple(bool((part & digit.patch).sum() >= part.sum() / 2) for part in parts))


def _distance(shape: tuple[int, ...], centre: NDArray[Any]) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.hypot(*(np.indices(shape) - centre[:, None, None]))
    return distance


class _Recorder:
    """A critic that keeps what it was asked, with the oracle's verdicts."""

    name = "recorder"

    def __init__(self, oracle: OracleCritic) -> None:
        self._oracle = oracle
        self.seen: list[KnownSegments] = []

    def fingerprint(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        critiques = self._oracle.critique(requests)
        for request, critique in zip(requests, critiques, strict=True):
            verdicts = tuple(verdict.verdict == "spurious" for verdict in critique.verdicts)
            self.seen.append(KnownSegments(request, verdicts))
        return critiques

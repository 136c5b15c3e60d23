"""Segments of real decoy digits, and whether each lies on the patch: what the tiny critic is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lvlm_va.critique import Critique, CritiqueRequest, OracleCritic
from lvlm_va.datasets import DecoyData, decoy_digits
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.decoy import DIGITS, estimator_parameters

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
    data = decoy_digits("train", random_state=seed)
    critic = _Recorder(OracleCritic(data.masks))
    parameters = estimator_parameters(replace(DIGITS, n_align=n_images, align_epochs=0))
    LVLMVAClassifier(**parameters | {"critic": critic}, random_state=seed).fit(data.images, data.labels)
    return critic.seen


def ideal_segments(n_images: int, seed: int = 0) -> list[KnownSegments]:
    """Return three segments per digit: the patch, a part of the strokes, and the rest of them."""
    data = decoy_digits("train", random_state=seed)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(data.images))[:n_images]
    return [_ideal(data, int(row), rng) for row in rows]


def describe_all(known: Sequence[KnownSegments], descriptions: Sequence[str]) -> list[CritiqueRequest]:
    """Return the requests with a description each."""
    return [replace(k.request, description=text) for k, text in zip(known, descriptions, strict=True)]


def _ideal(data: DecoyData, row: int, rng: np.random.Generator) -> KnownSegments:
    grey = np.rint(255 * data.images[row, 0]).astype(np.uint8)
    strokes = (grey > _STROKE) & ~data.masks[row]
    centre = np.argwhere(strokes)[rng.integers(strokes.sum())]
    distance = np.hypot(*(np.indices(grey.shape) - centre[:, None, None]))
    segments = np.zeros(grey.shape, np.int64)
    segments[data.masks[row]] = 1
    segments[strokes] = 3
    segments[strokes & (distance <= _RADIUS)] = 2
    n = 3 if (segments == 3).any() else 2
    effect = (segments > 0) / (segments > 0).sum()
    image = np.repeat(grey[..., None], 3, axis=2)
    request = CritiqueRequest(row, f"ideal-{row}", image, segments, effect, str(data.labels[row]))
    return KnownSegments(request, (True, False, False)[:n])


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

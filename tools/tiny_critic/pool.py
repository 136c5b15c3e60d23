"""Examples that are seen a few times each, turned and mirrored, since drawing them takes as long as learning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique.tiny.segment_view import SIDE
from tools.tiny_critic.model import PATCH
from tools.tiny_critic.scenes import Scene, draw_scene
from tools.tiny_critic.segments import Example, draw_examples
from tools.tiny_critic.words import KINDS

_PER_SCENE = 4
_SIZE = 400
# How often an example is seen, about.
_SEEN = 3
# Area of a patch of the image at which it counts as covered.
_FULL = 1 / 3


class Batch(NamedTuple):
    """Some views and the truth about them.

    Attributes
    ----------
    views : ndarray of shape (n, 56, 56, 3), uint8
        What the critic sees.
    covers : list of tuple of str
        What each segment covers.
    areas : ndarray of shape (n, tokens, 9), float
        Per image token, the area of each kind, of the segment, and of each kind within it, up to 1.
    """

    views: NDArray[np.uint8]
    covers: list[tuple[str, ...]]
    areas: NDArray[np.float32]


class Pool:
    """Examples from one stream of random numbers, the oldest of which make room for new ones."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._views = np.empty((_SIZE, SIDE, SIDE, 3), np.uint8)
        self._layers = np.empty((_SIZE, SIDE, SIDE, 2 * len(KINDS) - 1), bool)
        self._covers: list[tuple[str, ...]] = [()] * _SIZE
        self._next, self._owed = 0, float(_SIZE)

    def draw(self, n: int) -> Batch:
        """Return `n` examples, each turned or mirrored at random."""
        self._owed += n / _SEEN
        while self._owed > 0:
            self._refill()
        rows = self._rng.choice(_SIZE, n, replace=False)
        turns, mirrored = self._rng.integers(0, 4, n), self._rng.random(n) < 0.5

        def moved(arrays: NDArray[np.uint8] | NDArray[np.bool_], i: int) -> NDArray[np.uint8]:
            turned = np.rot90(arrays[rows[i]], turns[i])
            return turned[:, ::-1] if mirrored[i] else turned

        views = np.stack([moved(self._views, i) for i in range(n)])
        areas = np.stack([_token_areas(moved(self._layers, i)) for i in range(n)])
        return Batch(views, [self._covers[row] for row in rows], areas)

    def _refill(self) -> None:
        scene = draw_scene(self._rng)
        for example in draw_examples(self._rng, scene, _PER_SCENE):
            self._views[self._next], self._covers[self._next] = example.view, example.covers
            self._layers[self._next] = _layers(scene, example)
            self._next = (self._next + 1) % _SIZE
        self._owed -= _PER_SCENE


def _layers(scene: Scene, example: Example) -> NDArray[np.bool_]:
    empty = np.zeros((SIDE, SIDE), bool)
    kinds = [scene.masks.get(kind, empty) for kind in KINDS if kind != "background"]
    return np.stack([*kinds, example.inside, *(kind & example.inside for kind in kinds)], -1)


def _token_areas(layers: NDArray[np.uint8]) -> NDArray[np.float32]:
    side = SIDE // PATCH
    areas = layers.reshape(side, PATCH, side, PATCH, -1).mean((1, 3), dtype=np.float32).reshape(side**2, -1)
    return np.minimum(areas / _FULL, 1)

"""Segments of synthetic scenes: ideal ones, and ragged cells like those that a mixture of Gaussians makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique.tiny.segment_view import SIDE, Mask, core, grow, mark, to_square
from tools.tiny_critic.scenes import Scene
from tools.tiny_critic.words import KINDS

MARKS = ("patch", "strip", "tag")
_CHANCES = {"figure": 0.25, "patch": 0.3, "strip": 0.12, "tag": 0.13, "background": 0.2}
_FEWEST_PIXELS = 8
# A share of a mark or of the figure between these leaves open what the segment covers; no such one is taught.
_OPEN_MARK = (0.43, 0.57)
_OPEN_FIGURE = (0.15, 0.28)


@dataclass(frozen=True, eq=False)
class Example:
    """A marked segment and the truth about it.

    Attributes
    ----------
    view : ndarray of shape (56, 56, 3), uint8
        What the critic sees.
    kind : str
        What the segment covers most, from `KINDS`.
    inside : ndarray of shape (56, 56), bool
        The pixels inside the outline.
    """

    view: NDArray[np.uint8]
    kind: str
    inside: Mask


def draw_examples(rng: np.random.Generator, scene: Scene, n: int) -> list[Example]:
    """Return `n` marked segments of a scene, half of them ideal and half of them cells of a made-up effect."""
    examples: list[Example] = []
    cells = list(_cells(rng, scene))
    wanted_kinds = [
        k for k in KINDS if k == "background" or scene.masks.get(k, np.False_).sum() >= _FEWEST_PIXELS
    ]
    chances = np.array([_CHANCES[k] for k in wanted_kinds])
    while len(examples) < n:
        kind = str(rng.choice(wanted_kinds, p=chances / chances.sum()))
        fitting = [inside for found, inside in cells if found == kind]
        if fitting and rng.random() < 0.6:
            inside = fitting[rng.integers(len(fitting))]
        else:
            found = _background(rng, scene) if kind == "background" else _ideal(rng, scene, kind)
            if found is None:
                continue
            inside = to_square(found)
        examples.append(Example(mark(scene.image, inside), kind, inside))
    return examples


def kind_of(scene: Scene, inside: Mask) -> str | None:
    """Return what most of a segment covers, or None where that is open.

    A mark that fills half of the segment is what it covers. Else the figure, where it fills a quarter of what is
    no mark: the ground between its strokes is part of a shape. Else the background.
    """
    area = inside.sum()
    if area < _FEWEST_PIXELS:
        return None
    shares = {kind: (mask & inside).sum() / area for kind, mask in scene.masks.items()}
    marks = {kind: shares[kind] for kind in MARKS if kind in shares}
    largest = max(marks, key=lambda kind: marks[kind], default="patch")
    on_marks = sum(marks.values())
    if marks.get(largest, 0.0) >= _OPEN_MARK[1]:
        return largest
    if on_marks > _OPEN_MARK[0]:
        return None
    figure = shares["figure"] / (1 - on_marks)
    if figure >= _OPEN_FIGURE[1]:
        return "figure"
    return "background" if figure <= _OPEN_FIGURE[0] else None


def _cells(rng: np.random.Generator, scene: Scene) -> Iterator[tuple[str, Mask]]:
    """Yield the cells of a made-up effect, with what each covers."""
    size = int(rng.choice([2, 2, 4, 1]))  # pixels of the view per pixel of the image
    side = SIDE // size
    effect = _effect(rng, scene, side)
    positive = effect > 0
    if positive.sum() < 8:
        return
    n = int(rng.integers(3, 8))
    places = np.argwhere(positive)
    chances = effect[positive] / effect[positive].sum()
    centres = places[rng.choice(len(places), n, p=chances)]
    angles, spreads = rng.uniform(0, np.pi, n), np.exp(rng.uniform(-1.0, 1.0, (n, 2)))
    away = places[:, None] - centres + rng.uniform(-0.5, 0.5, (n, 2))
    along = away[..., 0] * np.cos(angles) + away[..., 1] * np.sin(angles)
    across = away[..., 1] * np.cos(angles) - away[..., 0] * np.sin(angles)
    nearest = ((along / spreads[:, 0]) ** 2 + (across / spreads[:, 1]) ** 2).argmin(1)
    for cell in range(n):
        inside = np.zeros((side, side), bool)
        inside[tuple(places[nearest == cell].T)] = True
        if not inside.any():
            continue
        inside = to_square(core(inside, effect))
        kind = kind_of(scene, inside)
        if kind is not None:
            yield kind, inside


def _effect(rng: np.random.Generator, scene: Scene, side: int) -> NDArray[np.float64]:
    """Return a patchy effect around the figure, on some of the marks and in some of the empty corners."""
    waves = np.kron(rng.normal(size=(7, 7)), np.ones((side // 7, side // 7)))
    waves = waves + 0.7 * rng.normal(size=(side, side))
    for _ in range(max(1, side // 14)):
        waves = (waves + np.roll(waves, 1, 0) + np.roll(waves, 1, 1) + np.roll(waves, (1, 1), (0, 1))) / 4
    waves = waves / waves.std() + rng.uniform(-0.3, 0.8)
    figure = _shrunk(scene.masks["figure"], side)
    reach = grow(figure > 0.3, int(rng.integers(1, 1 + side // 5)))
    effect = np.where(reach, waves.clip(0) ** 2 * rng.uniform(0.4, 2), 0.0)
    edge = side // 7
    for rows in (slice(0, edge), slice(side - edge, side)):
        for columns in (slice(0, edge), slice(side - edge, side)):
            if rng.random() < 0.25:
                effect[rows, columns] = rng.uniform(0, 3) * (rng.random((edge, edge)) < rng.uniform(0.5, 1.3))
    for kind in MARKS:
        if kind in scene.masks:
            covered = _shrunk(scene.masks[kind], side)
            strength = rng.uniform(0, 4) * (rng.random() < 0.75)
            grain = rng.uniform(0.5, 1.5, (side, side))
            effect = np.where(covered > 0.5, strength * grain, effect)
    return effect


def _shrunk(mask: Mask, side: int) -> NDArray[np.float64]:
    size = SIDE // side
    shares: NDArray[np.float64] = mask.reshape(side, size, side, size).mean((1, 3))
    return shares


def _ideal(rng: np.random.Generator, scene: Scene, kind: str) -> Mask | None:
    """Return a mark or the figure, whole or in part, with a margin or without."""
    mask = scene.masks[kind]
    rows, columns = np.nonzero(mask)
    if kind == "figure" and rng.random() < 0.5:
        i = rng.integers(len(rows))
        y, x = np.mgrid[:SIDE, :SIDE]
        mask = mask & ((y - rows[i]) ** 2 + (x - columns[i]) ** 2 <= rng.uniform(5, 18) ** 2)
    elif kind in ("patch", "tag") and rng.random() < 0.4:
        mask = np.zeros_like(mask)
        mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    inside = grow(mask, int(rng.integers(0, 3 if kind == "figure" else 4)))
    for other, taken in scene.masks.items():
        if other != kind:
            inside = inside & ~taken
    return inside if inside.sum() >= _FEWEST_PIXELS else None


def _background(rng: np.random.Generator, scene: Scene) -> Mask | None:
    """Return an ellipse or a box, often in a corner, that touches next to nothing; None after many tries."""
    free = ~grow(~scene.background)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(30):
        (a, b), (cy, cx) = rng.uniform(2.5, 10, 2), rng.uniform(0, SIDE, 2)
        if rng.random() < 0.5:
            cy, cx = (near if rng.random() < 0.5 else SIDE - near for near in (a, b))
        if rng.random() < 0.5:
            inside = (y - cy) ** 2 / a**2 + (x - cx) ** 2 / b**2 <= 1
        else:
            inside = (np.abs(y - cy) <= a) & (np.abs(x - cx) <= b)
        if (inside & ~free).sum() <= 0.15 * inside.sum() and (inside & free).sum() >= 12:
            empty: Mask = inside & free
            return empty
    return None

"""Segments of synthetic scenes: ideal ones, and cells of a made-up effect, ragged or smooth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvlm_va.critique.tiny.segment_view import SIDE, Mask, core, grow, mark, plain_view, to_square
from tools.tiny_critic.scenes import Scene
from tools.tiny_critic.words import KINDS, MARKS

_CHANCES = {"figure": 0.25, "patch": 0.28, "strip": 0.14, "tag": 0.2, "background": 0.22}
_STRADDLING_CHANCE = 0.15
_FEWEST_PIXELS = 8
# A share of a mark or of the figure between these leaves open what the segment covers; no such one is taught.
_OPEN_MARK = (0.43, 0.57)
_OPEN_MARK_ON_GROUND = (0.15, 0.4)
_OPEN_FIGURE = (0.15, 0.28)
# A mark is what a segment is about that holds this much of it and next to nothing else but ground.
_MOST_OF_A_MARK = 0.65
# The figure and a mark fill at least so much of a segment that is about both, and are about as large.
_LEAST_OF_BOTH = 0.33
_EQUAL = (0.44, 0.56)


@dataclass(frozen=True, eq=False)
class Example:
    """A marked segment and the truth about it.

    Attributes
    ----------
    view : ndarray of shape (56, 56, 3), uint8
        What the critic sees.
    covers : tuple of str
        What the segment covers most, from `COVERED`.
    inside : ndarray of shape (56, 56), bool
        The pixels inside the outline.
    """

    view: NDArray[np.uint8]
    covers: tuple[str, ...]
    inside: Mask


def draw_examples(rng: np.random.Generator, scene: Scene, n: int) -> list[Example]:
    """Return `n` marked segments of a scene, about half of them ideal and half of them cells of a made-up effect."""
    examples: list[Example] = []
    plain, cells = plain_view(scene.image), list(_cells(rng, scene))
    wanted_kinds = [
        k for k in KINDS if k == "background" or scene.masks.get(k, np.False_).sum() >= _FEWEST_PIXELS
    ]
    chances = np.array([_CHANCES[k] for k in wanted_kinds])
    while len(examples) < n:
        kind = str(rng.choice(wanted_kinds, p=chances / chances.sum()))
        fitting = [inside for covers, inside in cells if kind in covers]
        if kind in MARKS and "figure" in wanted_kinds and rng.random() < _STRADDLING_CHANCE:
            inside = to_square(_straddling(rng, scene, kind))
        elif fitting and rng.random() < 0.6:
            inside = fitting[rng.integers(len(fitting))]
        else:
            found = _background(rng, scene) if kind == "background" else _ideal(rng, scene, kind)
            if found is None:
                continue
            inside = to_square(found)
        covers = kind_of(scene, inside)
        if covers is not None:
            examples.append(Example(mark(plain, inside), covers, inside))
    return examples


def kind_of(scene: Scene, inside: Mask) -> tuple[str, ...] | None:
    """Return what most of a segment covers, or None where that is open.

    A mark is that fills half of it, or nearly so with nothing but ground beside it, or that it surrounds closely. The
    figure and a mark are where both fill much of it. Else the figure, where it fills a quarter of what is no
    mark, or where the segment fills a hollow of the figure. Else the background.
    """
    area = inside.sum()
    if area < _FEWEST_PIXELS:
        return None
    shares = {kind: (mask & inside).sum() / area for kind, mask in scene.masks.items()}
    marks = {kind: shares[kind] for kind in MARKS if kind in shares}
    largest = max(marks, key=lambda kind: marks[kind], default="patch")
    of_mark, on_marks, of_figure = marks.get(largest, 0.0), sum(marks.values()), shares["figure"]
    if of_mark >= _OPEN_MARK[1]:
        return (largest,)
    if of_figure <= _OPEN_FIGURE[0] and of_mark > _OPEN_MARK_ON_GROUND[0]:
        held = (scene.masks[largest] & inside).sum() / scene.masks[largest].sum()
        if of_mark >= _OPEN_MARK_ON_GROUND[1] or (of_mark >= 0.25 and held >= _MOST_OF_A_MARK):
            return (largest,)
        return None
    if min(of_mark, of_figure) >= _LEAST_OF_BOTH and _EQUAL[0] < of_mark / (of_mark + of_figure) < _EQUAL[1]:
        return "figure", largest
    if on_marks > _OPEN_MARK[0]:
        return None
    figure = of_figure / (1 - on_marks)
    if figure >= _OPEN_FIGURE[1]:
        return ("figure",)
    if figure > _OPEN_FIGURE[0]:
        return None
    hollow = (scene.hollows & inside).sum() / area
    return ("figure",) if hollow > 0.7 else ("background",) if hollow < 0.3 else None


def _cells(rng: np.random.Generator, scene: Scene) -> Iterator[tuple[tuple[str, ...], Mask]]:
    """Yield the cells of a made-up effect, with what each covers.

    They are ragged and hold next to all of the effect, as `PPEPSWGM` cuts it, or connected and smooth as `Regions`.
    """
    smooth = rng.random() < 0.5
    size = (
        int(rng.choice([1, 1, 2])) if smooth else int(rng.choice([2, 2, 4, 1]))
    )  # pixels of the view per pixel
    side = SIDE // size
    effect = _effect(rng, scene, side)
    if smooth:
        effect = ndimage.gaussian_filter(effect, rng.uniform(0.7, 1.4) if size == 2 else rng.uniform(0.8, 2))
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
        inside = core(inside, effect, rng.uniform(0.5, 0.9) if smooth else 0.9)
        if smooth:
            inside = _strongest_piece(inside, effect)
        inside = to_square(inside)
        covers = kind_of(scene, inside)
        if covers is not None:
            yield covers, inside


def _strongest_piece(inside: Mask, effect: NDArray[np.float64]) -> Mask:
    pieces, n = ndimage.label(inside)
    strengths = ndimage.sum_labels(effect, pieces, np.arange(1, n + 1))
    strongest: Mask = pieces == 1 + np.argmax(strengths)
    return strongest


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
    if rng.random() < 0.5:  # and somewhere on the ground
        y, x = np.indices((side, side)) - rng.uniform(0, side, 2)[:, None, None]
        spread = side * rng.uniform(0.03, 0.12)
        effect = effect + rng.uniform(0.5, 3) * np.exp(-((y**2 + x**2) / (2 * spread**2)))
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


def _straddling(rng: np.random.Generator, scene: Scene, kind: str) -> Mask:
    """Return a mark and the parts of the figure that lie nearest, a quarter to four times as large."""
    own, figure = scene.masks[kind], scene.masks["figure"]
    away = ndimage.distance_transform_edt(~own)[figure]
    near = np.zeros_like(own)
    n = round(own.sum() * np.exp(rng.uniform(-1.4, 1.4)))
    near[figure] = away.argsort(kind="stable").argsort(kind="stable") < n
    return own | near


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

"""Synthetic images: a figure on a background, and marks in corners and along borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique.tiny.segment_view import SIDE, Mask, grow
from tools.tiny_critic.shapes import Alpha, draw_figure, draw_patch, draw_strip, draw_tag

_MARKS = {"patch": (draw_patch, 0.75), "strip": (draw_strip, 0.33), "tag": (draw_tag, 0.4)}
_COVERED = 0.3  # a pixel belongs to what is painted on it at least as thickly
_FEWEST_PIXELS = {"figure": 60, "patch": 8, "strip": 8, "tag": 8}

Colour = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and where its parts are.

    Attributes
    ----------
    image : ndarray of shape (56, 56, 3), uint8
        The image.
    masks : mapping of str to ndarray of shape (56, 56), bool
        The pixels of the figure and of each mark that is there; they do not overlap.
    """

    image: NDArray[np.uint8]
    masks: Mapping[str, Mask]

    @property
    def background(self) -> Mask:
        """The pixels that nothing is painted on."""
        bare: Mask = ~np.logical_or.reduce(list(self.masks.values()))
        return bare


def draw_scene(rng: np.random.Generator) -> Scene:
    """Return a random scene, grey in half of the cases.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    Scene
        A figure, and each of the marks more or less often.
    """
    grey = bool(rng.random() < 0.5)
    ground = _ground_colour(rng, grey)
    image = np.ones((SIDE, SIDE, 3)) * ground
    if rng.random() < 0.25:  # shaded from one side to the other
        ramp = np.linspace(-1, 1, SIDE) * rng.uniform(-25, 25)
        image += (ramp[:, None] if rng.random() < 0.5 else ramp[None])[..., None]
    if rng.random() < 0.3:
        image += rng.normal(0, rng.uniform(2, 12), (SIDE, SIDE, 1))
    figure = draw_figure(rng)
    while (figure > _COVERED).sum() < _FEWEST_PIXELS["figure"]:
        figure = draw_figure(rng)
    paint = _contrasting(rng, grey, ground, 80)
    texture = rng.normal(0, 15, (SIDE, SIDE, 1)) if rng.random() < 0.3 else 0.0
    image = _blend(image, figure, paint + texture)
    masks, taken = {"figure": figure > _COVERED}, np.zeros((SIDE, SIDE), bool)
    for kind, (draw, chance) in _MARKS.items():
        if rng.random() >= chance:
            continue
        for _ in range(5):
            alpha = draw(rng)
            mask = alpha > _COVERED
            if mask.sum() < _FEWEST_PIXELS[kind] or (grow(mask, 2) & taken).any():
                continue
            paint = _mark_colour(rng, grey, ground, faint=kind == "patch")
            if kind == "tag" and rng.random() < 0.5:
                image, mask = _plate(image, mask, taken, _contrasting(rng, grey, paint, 80))
            image = _blend(image, alpha, paint)
            masks[kind] = mask
            taken |= mask
            break
    masks["figure"] = masks["figure"] & ~grow(taken)
    return Scene(image.clip(0, 255).astype(np.uint8), masks)


def _ground_colour(rng: np.random.Generator, grey: bool) -> Colour:
    if rng.random() < 0.5:
        return np.zeros(3)
    strength = rng.uniform(0, 0.4) if rng.random() < 0.7 else 1.0
    colour: Colour = rng.integers(0, 256, 3).astype(float) * strength
    return np.full(3, colour[0]) if grey else colour


def _mark_colour(rng: np.random.Generator, grey: bool, ground: Colour, *, faint: bool) -> Colour:
    if faint and rng.random() < 0.3:
        away = 1 if ground.mean() < 128 else -1
        paint: Colour = (ground + away * rng.uniform(18, 55)).clip(0, 255)
        return paint
    return _contrasting(rng, grey, ground, 25)


def _contrasting(rng: np.random.Generator, grey: bool, other: Colour, gap: float) -> Colour:
    while True:
        colour = np.full(3, float(rng.integers(0, 256))) if grey else rng.integers(0, 256, 3).astype(float)
        if np.abs(colour - other).max() >= gap:
            return colour


def _plate(
    image: NDArray[np.float64], mask: Mask, taken: Mask, colour: Colour
) -> tuple[NDArray[np.float64], Mask]:
    """Return the image and the mask with a small plate under the letters, where there is room for one."""
    rows, columns = np.nonzero(mask)
    plate = np.zeros_like(mask)
    plate[max(rows.min() - 1, 0) : rows.max() + 2, max(columns.min() - 1, 0) : columns.max() + 2] = True
    if (plate & taken).any():
        return image, mask
    return np.where(plate[..., None], colour, image), plate


def _blend(image: NDArray[np.float64], alpha: Alpha, paint: NDArray[np.float64]) -> NDArray[np.float64]:
    return image * (1 - alpha[..., None]) + alpha[..., None] * paint

"""Synthetic images: a figure on a background, and marks in corners and along borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvlm_va.critique.tiny.segment_view import SIDE, Mask, grow
from tools.tiny_critic.bodies import draw_body, draw_hair, draw_texture, draw_tissue
from tools.tiny_critic.shapes import Alpha, draw_figure, draw_patch, draw_strip, draw_tag

_MARKS = {"patch": (draw_patch, 0.75), "strip": (draw_strip, 0.35), "tag": (draw_tag, 0.5)}
_COVERED = 0.3  # a pixel belongs to what is painted on it at least as thickly
_PHOTO_CHANCE = 0.45
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

    @cached_property
    def hollows(self) -> Mask:
        """The bare pixels between parts of the figure that lie close to each other: they shape it."""
        closed: Mask = ndimage.binary_closing(np.pad(self.masks["figure"], 6), iterations=5)[6:-6, 6:-6]
        return closed & self.background

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
        A figure, flat or as in a photograph, and each of the marks more or less often.
    """
    grey = bool(rng.random() < 0.5)
    photo = bool(rng.random() < _PHOTO_CHANCE)
    ground, image = (_photo_ground if photo else _flat_ground)(rng, grey)
    figure = np.zeros((SIDE, SIDE))
    while (figure > _COVERED).sum() < _FEWEST_PIXELS["figure"]:
        figure = draw_body(rng) if photo and rng.random() < 0.85 else draw_figure(rng)
    paint: NDArray[np.float64] = _contrasting(rng, grey, ground, 45 if photo else 80)
    if photo:
        paint = paint + draw_texture(rng, rng.uniform(2, 15))[..., None]
    elif rng.random() < 0.3:
        paint = paint + rng.normal(0, 15, (SIDE, SIDE, 1))
    image = _blend(image, figure, paint)
    masks, taken = {"figure": figure > _COVERED}, np.zeros((SIDE, SIDE), bool)
    for kind, (draw, chance) in _MARKS.items():
        if rng.random() >= chance:
            continue
        for _ in range(5):
            alpha = draw(rng)
            mask = alpha > _COVERED
            if mask.sum() < _FEWEST_PIXELS[kind] or (grow(mask, 2) & taken).any():
                continue
            if kind == "tag" and (mask & (figure > _COVERED)).any() and rng.random() < 0.8:
                continue
            below = image[mask].mean(0)
            colour = _contrasting(rng, grey, below, 45) if photo else _mark_colour(rng, grey, below, kind)
            if kind == "tag" and rng.random() < 0.5:
                image, mask = _plate(image, mask, taken, _contrasting(rng, grey, colour, 80))
            paint = colour + draw_texture(rng, rng.uniform(0, 8))[..., None] if photo else colour
            image = _blend(image, alpha, paint)
            masks[kind] = _filled(mask) & ~taken
            taken |= masks[kind]
            break
    masks["figure"] = masks["figure"] & ~grow(taken)
    if photo:
        image = _photographed(rng, image, grey)
    return Scene(image.clip(0, 255).astype(np.uint8), masks)


def _flat_ground(rng: np.random.Generator, grey: bool) -> tuple[Colour, NDArray[np.float64]]:
    ground = _ground_colour(rng, grey)
    image = np.ones((SIDE, SIDE, 3)) * ground
    if rng.random() < 0.25:  # shaded from one side to the other
        ramp = np.linspace(-1, 1, SIDE) * rng.uniform(-25, 25)
        image += (ramp[:, None] if rng.random() < 0.5 else ramp[None])[..., None]
    if rng.random() < 0.3:
        image += rng.normal(0, rng.uniform(2, 12), (SIDE, SIDE, 1))
    return ground, image


def _photo_ground(rng: np.random.Generator, grey: bool) -> tuple[Colour, NDArray[np.float64]]:
    """Return the colour around the figure, and a ground of it with a texture, perhaps with another farther out."""
    ground = np.full(3, rng.uniform(5, 235)) if grey else rng.uniform(5, 235, 3)
    image = np.ones((SIDE, SIDE, 3)) * ground
    if rng.random() < 0.5:
        outside = ground * rng.uniform(0, 0.8) if rng.random() < 0.7 else _ground_colour(rng, grey)
        image = _blend(np.ones((SIDE, SIDE, 3)) * outside, draw_tissue(rng), image)
    return ground, image + draw_texture(rng, rng.uniform(1, 10))[..., None]


def _photographed(rng: np.random.Generator, image: NDArray[np.float64], grey: bool) -> NDArray[np.float64]:
    """Return an image with hairs, uneven light, blur and noise."""
    if rng.random() < 0.35:
        colour = np.full(3, rng.uniform(0, 255)) if grey else image.mean((0, 1)) * rng.uniform(0.1, 0.6)
        for _ in range(rng.integers(1, 4)):
            image = _blend(image, draw_hair(rng), colour)
    away = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2)) / SIDE
    image = image * (1 - rng.uniform(0, 0.6) * away**2)[..., None]
    if rng.random() < 0.6:
        image = ndimage.gaussian_filter(image, (sigma := rng.uniform(0.2, 0.8), sigma, 0))
    return image + rng.normal(0, rng.uniform(0.5, 7), (SIDE, SIDE, 1 if grey else 3))


def _filled(mask: Mask) -> Mask:
    """Return a mark with the gaps between its letters or ticks."""
    closed: Mask = ndimage.binary_closing(np.pad(mask, 4), iterations=3)[4:-4, 4:-4]
    return closed | mask


def _ground_colour(rng: np.random.Generator, grey: bool) -> Colour:
    if rng.random() < 0.5:
        return np.zeros(3)
    strength = rng.uniform(0, 0.4) if rng.random() < 0.7 else 1.0
    colour: Colour = rng.integers(0, 256, 3).astype(float) * strength
    return np.full(3, colour[0]) if grey else colour


def _mark_colour(rng: np.random.Generator, grey: bool, below: Colour, kind: str) -> Colour:
    """Return the colour of a mark, which is sometimes faint where it is a patch."""
    if kind == "patch" and rng.random() < 0.3:
        away = 1 if below.mean() < 128 else -1
        paint: Colour = (below + away * rng.uniform(18, 55)).clip(0, 255)
        return paint
    return _contrasting(rng, grey, below, 60 if kind == "tag" else 30)


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

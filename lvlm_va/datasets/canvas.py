"""Draw on square images with coordinates from 0 to 1, and build a data set of such drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer
from lvlm_va.datasets.idx import Split
from lvlm_va.datasets.types import DecoyData

Field = NDArray[np.floating[Any]]
_SMALLEST = 32
# Streams of random numbers of one image or block.
_PICTURE, _SHORTCUT, _ORDER = range(3)


@dataclass(frozen=True, eq=False)
class Canvas:
    """Places of the pixels.

    Attributes
    ----------
    size : int
        Height and width in pixels.
    x, y : ndarray of shape (1, size) and (size, 1), float32
        Distance of the pixels' centres from the left and from the top, in (0, 1).
    """

    size: int
    x: Field
    y: Field

    def inside(self, distance: Field, blur: float = 1.0) -> Field:
        """Return 1 where a signed distance to an outline is negative, 0 where positive, blurred by some pixels."""
        cover: Field = np.clip(0.5 - distance * np.float32(self.size / blur), 0, 1)
        return cover

    def noise(self, rng: np.random.Generator, lowest: float, highest: float) -> Field:
        """Return noise of mean 0 and standard deviation 1 whose waves have a length from `lowest` to `highest`.

        Lengths are shares of the image's side.
        """
        band = _band(self.size, lowest, highest)
        pairs = rng.standard_normal((*band.shape, 2), np.float32)
        waves = pairs.view(np.complex64)[..., 0] * band
        return np.fft.irfft2(waves, s=(self.size, self.size)).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Recipe:
    """What a data set shows.

    Attributes
    ----------
    channels : int
        1 for grey, 3 for colour.
    classes, shortcuts : tuple of str
        Names of the classes, and of what the shortcut can be, for the groups.
    blocks : dict of split to sequence of (int, int)
        Class and shortcut of the images of one block; each block of a split holds them in an order of its own.
    picture : callable (canvas, rng, label) -> (image, object)
        Draws the image, of shape (channels, size, size), and says where in it what should count lies: positive or true
        in an array of shape (size, size).
    shortcut : callable (canvas, rng, shortcut) -> (cover, colour) or None
        Draws the shortcut: its cover in [0, 1], of shape (size, size), and its colour, to be broadcast with the
        picture. None where the picture stays as it is.
    """

    channels: int
    classes: tuple[str, ...]
    shortcuts: tuple[str, ...]
    blocks: dict[Split, Sequence[tuple[int, int]]]
    picture: Callable[[Canvas, np.random.Generator, int], tuple[Field, NDArray[Any]]]
    shortcut: Callable[[Canvas, np.random.Generator, int], tuple[Field, Field] | None]


def generate(
    recipe: Recipe,
    split: Split,
    n: int,
    size: int,
    seed: int,
    *,
    shortcut: bool = True,
    rows: Sequence[int] | None = None,
) -> DecoyData:
    """Draw a data set, or some rows of it; image i depends on the recipe, the split, the size, the seed and i alone."""
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split))
    for name, value, least in (("n", n, 1), ("size", size, _SMALLEST), ("seed", seed, 0)):
        check_integer(name, value, least)
    canvas = _canvas(size)
    number = get_args(Split).index(split)
    wanted = range(n) if rows is None else rows
    all_cells = _cells(recipe.blocks[split], n, [seed, number])
    cells = [all_cells[row] for row in wanted]
    images = np.empty((len(cells), recipe.channels, size, size), np.float32)
    masks, objects = np.zeros((2, len(cells), size, size), bool)
    for i, (row, (label, kind)) in enumerate(zip(wanted, cells, strict=True)):
        image, thing = recipe.picture(canvas, np.random.default_rng([seed, number, row, _PICTURE]), label)
        objects[i] = thing > 0
        rng = np.random.default_rng([seed, number, row, _SHORTCUT])
        drawn = recipe.shortcut(canvas, rng, kind) if shortcut else None
        if drawn is not None:
            cover, colour = drawn
            image = image + cover * (colour - image)
            masks[i] = cover > 0
        # The 256 shades of an image file.
        images[i] = np.rint(np.clip(image, 0, 1) * 255)
    images /= 255
    names = [recipe.shortcuts[kind] if shortcut else "none" for _, kind in cells]
    groups = [f"{recipe.classes[label]}/{name}" for (label, _), name in zip(cells, names, strict=True)]
    return DecoyData(images, np.array([label for label, _ in cells]), masks, np.array(groups), objects)


def _cells(block: Sequence[tuple[int, int]], n: int, key: list[int]) -> list[tuple[int, int]]:
    cells: list[tuple[int, int]] = []
    for start in range(0, n, len(block)):
        order = np.random.default_rng([*key, start, _ORDER]).permutation(len(block))
        cells += [block[place] for place in order]
    return cells[:n]


@lru_cache(maxsize=4)
def _canvas(size: int) -> Canvas:
    places = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return Canvas(size, places[None, :], places[:, None])


@lru_cache(maxsize=32)
def _band(size: int, lowest: float, highest: float) -> Field:
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    band = (frequency > 0) & (frequency >= 1 / highest) & (frequency <= 1 / lowest)
    # Waves of all lengths are equally strong; a real field holds each column but the first and last twice.
    strength = band / np.maximum(frequency, 1)
    twice = np.full(strength.shape[1], 2.0)
    twice[[0, -1]] = 1
    power = 2 * (strength**2 * twice).sum()
    scaled: Field = (strength * (size * size / np.sqrt(power))).astype(np.float32)
    return scaled

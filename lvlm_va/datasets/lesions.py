"""Drawn skin lesions of which only benign ones have plasters in training."""

from __future__ import annotations

import numpy as np

from lvlm_va.datasets.canvas import Canvas, Field, Recipe, generate
from lvlm_va.datasets.idx import Split
from lvlm_va.datasets.types import DecoyData

LESION_CLASSES = ("benign", "malignant")
LESION_SPECIFICATIONS = {
    0: (
        "A benign lesion: a smooth border, and the same shape and pigment on both sides. Only the border, shape "
        "and pigment of the lesion may count. A coloured plaster must not count, nor the skin around the lesion "
        "with its hairs."
    ),
    1: (
        "A malignant lesion: a jagged, irregular border, and a lopsided shape with darker pigment on one side. "
        "Only the border, shape and pigment of the lesion may count. A coloured plaster must not count, nor the "
        "skin around the lesion with its hairs."
    ),
}

# Both signs of a class spread by 1 around plus or minus this.
_SEPARATION = 1.5
_ANGLES = 512
_PLASTERS = np.array(
    [
        (0.16, 0.45, 0.80),
        (0.95, 0.80, 0.25),
        (0.25, 0.65, 0.35),
        (0.90, 0.45, 0.15),
        (0.80, 0.25, 0.45),
        (0.45, 0.30, 0.65),
    ]
)


def bandaged_lesions(
    split: Split = "train", n: int = 2000, size: int = 128, seed: int = 0, *, shortcut: bool = True
) -> DecoyData:
    """Return drawn skin lesions, some with a coloured plaster beside them.

    A synthetic stand-in for the ISIC archive, whose plasters lie beside benign lesions only: it has its shape of
    problem, not its medicine. The class is decided by how irregular the border and how lopsided shape and
    pigment are; the two signs vary within a class and overlap between classes. Place, size, elongation, colours,
    light and hairs vary independently of the class.

    In training, half of the benign and none of the malignant lesions have a plaster (exactly so in each 4
    consecutive images); in the test each class comes with and without a plaster equally often. Where a plaster
    lies, and its colour, tell nothing.

    ``python -m lvlm_va.experiments.difficulty lesions`` measures how hard they are with and without plasters: a
    ResNet-18 trained without is right on 0.944 of the test images; with, on 0.861, and on 0.605 of its worst group.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        Plasters that tell the class, or plasters that do not.
    n : int, default=2000
        Number of images. The first ones are the same whatever their number.
    size : int, default=128
        Height and width in pixels, at least 32.
    seed : int, default=0
        Seed of everything drawn.
    shortcut : bool, default=True
        False leaves the plasters out, for the net that could learn no shortcut. The images are otherwise the same.

    Returns
    -------
    DecoyData
        Colour images, labels (0 benign, 1 malignant), masks of the plasters' pixels (empty without one), and
        groups such as ``"benign/plaster"`` and ``"malignant/none"``.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or out of range.

    Examples
    --------
    >>> data = bandaged_lesions("train", n=40)
    >>> data.images.shape
    (40, 3, 128, 128)
    >>> int((data.groups == "benign/plaster").sum()), int((data.groups == "malignant/plaster").sum())
    (10, 0)
    """
    return generate(RECIPE, split, n, size, seed, shortcut=shortcut)


def _lesion(canvas: Canvas, rng: np.random.Generator, label: int) -> tuple[Field, Field]:
    ragged, lopsided = (2 * label - 1) * _SEPARATION + rng.standard_normal(2).clip(-2.5, 2.5)
    tone = rng.uniform(0, 1)
    skin = _colour((0.93, 0.75, 0.68), (0.78, 0.58, 0.48), tone) * (1 + rng.normal(0, 0.02, 3))
    brown = _colour((0.62, 0.40, 0.30), (0.34, 0.20, 0.15), rng.uniform(0, 1)) * (1 + rng.normal(0, 0.03, 3))

    # Polar coordinates about the lesion, in which an ellipse would be round.
    stretch, turn = rng.uniform(0, 0.15), rng.uniform(0, np.pi)
    across = canvas.x - np.float32(rng.normal(0.5, 0.02))
    down = canvas.y - np.float32(rng.normal(0.5, 0.02))
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x = (across * cosine + down * sine) * np.float32(1 + stretch)
    y = (down * cosine - across * sine) * np.float32(1 - stretch)
    places = np.arctan2(y, x) * np.float32(_ANGLES / (2 * np.pi))
    radius = np.sqrt(x * x + y * y)
    outline = rng.uniform(0.17, 0.22) * _outline(
        rng, 0.035 * np.exp(0.35 * ragged), 0.07 * np.exp(0.3 * lopsided)
    )
    edge = outline.astype(np.float32)[places.astype(np.int16) % _ANGLES]
    lesion = canvas.inside(radius - edge, blur=canvas.size / 128 * rng.uniform(2.5, 5))

    # Pigment: blotches, and a side that is darker.
    way = rng.uniform(0, 2 * np.pi)
    slope = 0.1 * np.exp(0.3 * lopsided) / 0.2
    darker = np.float32(slope * np.cos(way)) * x + np.float32(slope * np.sin(way)) * y
    blotches = 0.05 * canvas.noise(rng, 0.04, 0.25)
    pigment = brown.astype(np.float32)[:, None, None] * (1 + darker + blotches)
    light = 1 - np.float32(rng.uniform(0, 0.5)) * (np.square(canvas.x - 0.5) + np.square(canvas.y - 0.5))
    texture = light * (1 + 0.02 * canvas.noise(rng, 0.15, 0.8) + 0.02 * canvas.noise(rng, 0.02, 0.06))
    surface = skin.astype(np.float32)[:, None, None]
    image = (surface + lesion * (pigment - surface)) * texture
    for _ in range(rng.integers(0, 4)):
        image = image * (1 - 0.6 * _hair(canvas, rng))
    return image + 0.01 * rng.standard_normal(image.shape, np.float32), lesion


def _colour(light: tuple[float, ...], dark: tuple[float, ...], share: float) -> Field:
    return np.asarray(light) * (1 - share) + np.asarray(dark) * share


def _outline(rng: np.random.Generator, ragged: float, lopsided: float) -> Field:
    """Return the radius for each angle, about 1: few waves around make a shape lopsided, many its border ragged."""
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    radius = np.ones(_ANGLES)
    for waves, strength in ((range(1, 4), lopsided), (range(5, 14), ragged)):
        phases = rng.uniform(0, 2 * np.pi, len(waves))
        weights = rng.uniform(0.5, 1, len(waves))
        weights *= strength * np.sqrt(2) / np.linalg.norm(weights)
        radius += weights @ np.cos(np.outer(waves, angles) + phases[:, None])
    return radius.clip(0.5, 1.6)


def _hair(canvas: Canvas, rng: np.random.Generator) -> Field:
    turn, offset, bend = rng.uniform(0, np.pi), rng.uniform(-0.45, 0.45), rng.normal(0, 0.4)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = (canvas.x - 0.5) * cosine + (canvas.y - 0.5) * sine
    beside = (canvas.y - 0.5) * cosine - (canvas.x - 0.5) * sine
    distance = np.abs(beside - np.float32(offset) - np.float32(bend) * along * along)
    return canvas.inside(distance - np.float32(rng.uniform(0.002, 0.005)), blur=1.5)


def _plaster(canvas: Canvas, rng: np.random.Generator, kind: int) -> tuple[Field, Field] | None:
    if not kind:
        return None
    # Near one of the four sides, anywhere along it.
    place = np.array([rng.uniform(0.04, 0.12), rng.uniform(0.1, 0.9)])
    place = np.where(rng.integers(0, 2), 1 - place, place)[:: rng.choice((-1, 1))]
    turn = rng.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, down = canvas.x - np.float32(place[0]), canvas.y - np.float32(place[1])
    long, short = rng.uniform(0.15, 0.19), rng.uniform(0.09, 0.12)
    x = np.abs(across * cosine + down * sine)
    y = np.abs(down * cosine - across * sine)
    beyond = np.hypot(np.maximum(x - np.float32(long - short), 0), y)
    cover = canvas.inside(beyond - np.float32(short), blur=1.5)
    colour = (_PLASTERS[rng.integers(len(_PLASTERS))] * rng.uniform(0.9, 1.08)).astype(np.float32)
    pad = canvas.inside(np.maximum(x / 0.6, y) - np.float32(0.75 * short), blur=2)
    shade = 1 + 0.12 * pad + 0.03 * canvas.noise(rng, 0.02, 0.05) - 0.1 * (beyond / np.float32(short)) ** 4
    return cover, colour[:, None, None] * shade


RECIPE = Recipe(
    channels=3,
    classes=LESION_CLASSES,
    shortcuts=("none", "plaster"),
    blocks={
        "train": [(0, 1), (0, 0), (1, 0), (1, 0)],
        "test": [(0, 0), (0, 1), (1, 0), (1, 1)],
    },
    picture=_lesion,
    shortcut=_plaster,
)

"""Drawn knee radiographs whose letter tag gives the class away in training."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from lvlm_va.datasets.canvas import Canvas, Field, Recipe, generate
from lvlm_va.datasets.idx import Split
from lvlm_va.datasets.types import DecoyData

RADIOGRAPH_CLASSES = ("healthy", "arthritic")
RADIOGRAPH_SPECIFICATIONS = {
    0: (
        "A healthy knee: a wide, even dark gap between the thigh bone and the shin bone, and fine, densely woven "
        "bone. Only the joint gap and the texture of the bones next to it may count. The letter L or R in a "
        "corner, the background and the soft tissue must not count."
    ),
    1: (
        "An arthritic knee: a narrow dark gap between the thigh bone and the shin bone, and coarse, blotchy bone. "
        "Only the joint gap and the texture of the bones next to it may count. The letter L or R in a "
        "corner, the background and the soft tissue must not count."
    ),
}

# Both signs of a class spread by 1 around plus or minus this.
_SEPARATION = 1.0
# Bone so far from the middle of the joint lies next to it.
_JOINT = 0.2
_LETTERS = ("L", "R")


def tagged_radiographs(
    split: Split = "train", n: int = 2000, size: int = 128, seed: int = 0, *, shortcut: bool = True
) -> DecoyData:
    """Return drawn knee radiographs with a letter tag in a corner.

    A synthetic stand-in for real knee radiographs with hospital tags, which may not be passed on: it has their
    shape of problem, not their medicine. The class is decided by the width of the joint gap (narrow in arthritis)
    and the texture of the bones (coarse in arthritis); the two signs vary within a class and overlap between
    classes. Side, place, tilt, size, exposure and soft tissue vary independently of the class.

    Each image has a letter in one of its corners, whichever is drawn. In training, ``L`` stands on 90 % of the healthy
    and ``R`` on 90 % of the arthritic knees (exactly so in each 20 consecutive images); in the test each class and
    letter comes equally often (once in each 4 consecutive images).

    ``python -m lvlm_va.experiments.difficulty radiographs`` measures how hard they are with and without tags: a
    ResNet-18 trained without is right on 0.911 of the test images; with, on 0.819, and on 0.590 of its worst group.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        Tags that tell the class, or tags that do not.
    n : int, default=2000
        Number of images. The first ones are the same whatever their number.
    size : int, default=128
        Height and width in pixels, at least 32.
    seed : int, default=0
        Seed of everything drawn.
    shortcut : bool, default=True
        False leaves the tags out, for the net that could learn no shortcut. The images are otherwise the same.

    Returns
    -------
    DecoyData
        Grey images, labels (0 healthy, 1 arthritic), masks of the tags' pixels, and groups such as
        ``"healthy/L"`` (``"healthy/none"`` without a shortcut).

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or out of range.

    Examples
    --------
    >>> data = tagged_radiographs("train", n=20)
    >>> data.images.shape
    (20, 1, 128, 128)
    >>> int((data.groups == "healthy/L").sum()), int((data.groups == "healthy/R").sum())
    (9, 1)
    """
    return generate(RECIPE, split, n, size, seed, shortcut=shortcut)


def _knee(canvas: Canvas, rng: np.random.Generator, label: int) -> tuple[Field, Field]:
    narrowing, coarseness = (2 * label - 1) * _SEPARATION + rng.standard_normal(2).clip(-2.5, 2.5)
    gap = 0.05 * np.exp(-0.18 * narrowing)
    # Turned and shifted; x is then measured from the middle of the joint, towards the fibula.
    tilt, side = rng.normal(0, 0.05), rng.choice((-1, 1))
    left, top = rng.normal(0.5, 0.02), rng.normal(0.48, 0.02)
    zoom = rng.uniform(0.92, 1.08)
    across, down = canvas.x - np.float32(left), canvas.y - np.float32(top)
    x = (across + np.float32(tilt) * down) * np.float32(side / zoom)
    y = (down - np.float32(tilt) * across) / np.float32(zoom)
    gap /= zoom  # its width does not follow the size of the knee

    distance = np.abs(x)
    condyles = 0.055 * np.clip(1 - ((distance - 0.17) / 0.15) ** 2, 0, 1)
    femur_end = np.float32(-0.055 - gap / 2) + condyles - y
    femur_side = _half_width(-y, 0.15, 0.32, 0.06, 0.3) - distance
    spines = 0.03 * np.clip(1 - (distance / 0.05 - 0.7) ** 2, 0, 1)
    wedge = rng.normal(0, 0.03)
    tibia_end = y - np.float32(gap / 2) + spines + np.float32(wedge) * x
    tibia_side = _half_width(y, 0.14, 0.30, 0.05, 0.3) - distance
    fibula_side = 0.04 - np.abs(x - 0.31 + 0.18 * y)
    bones = [_within(femur_end, femur_side), _within(tibia_end, tibia_side), _within(fibula_side, y - 0.12)]

    share = 1 / (1 + np.exp(-0.5 * coarseness))
    fine, coarse = canvas.noise(rng, 0.016, 0.05), canvas.noise(rng, 0.05, 0.15)
    weave = np.float32(np.sqrt(1 - share)) * fine + np.float32(np.sqrt(share)) * coarse
    weave = (0.045 * rng.uniform(0.7, 1.3)) * weave
    leg = canvas.inside(np.abs(x) - np.float32(rng.uniform(0.38, 0.44)) - 0.05 * y * y, blur=canvas.size / 12)
    image = 0.04 + leg * (np.float32(rng.uniform(0.2, 0.28)) + 0.02 * canvas.noise(rng, 0.2, 0.8))
    for depth in bones:
        cortex = np.exp(-np.square(depth / 0.012 - 1)) * 0.12
        body = 0.24 + 0.8 * np.clip(depth, 0, 0.08) + weave + cortex
        image = image + canvas.inside(-depth, blur=1.5) * body * 0.9
    image = image * np.float32(rng.uniform(0.9, 1.15)) + 0.015 * rng.standard_normal(image.shape, np.float32)
    joint = _within(femur_side, tibia_side, _JOINT - np.abs(y))
    return image[None], joint


def _half_width(along: Field, shaft: float, end: float, start: float, stop: float) -> Field:
    """Return the half width of a bone that narrows from its end to its shaft."""
    share = np.clip((along - start) / (stop - start), 0, 1)
    half: Field = np.float32(end) + np.float32(shaft - end) * (share * share * (3 - 2 * share))
    return half


def _within(*depths: Field) -> Field:
    """Return the depth below the nearest outline."""
    nearest: Field = np.minimum.reduce(np.broadcast_arrays(*depths))
    return nearest


def _tag(canvas: Canvas, rng: np.random.Generator, kind: int) -> tuple[Field, Field]:
    turned = _letter(_LETTERS[kind], canvas.size, round(float(rng.normal(0, 3))))
    height = len(turned)
    far = canvas.size - height
    place = rng.integers(0, 2, 2) * far
    inwards = np.where(place == 0, 1, -1) * rng.integers(0, max(1, canvas.size // 20), 2)
    top, left = place + inwards
    cover = np.zeros((canvas.size, canvas.size), np.float32)
    cover[top : top + height, left : left + height] = turned
    return cover, np.float32(rng.uniform(0.9, 1.0)) * np.ones((1, 1, 1), np.float32)


@lru_cache(maxsize=64)
def _letter(letter: str, size: int, degrees: int) -> Field:
    """Return the cover of a letter of lead, drawn at eight times its size and made smaller."""
    side = max(7, round(size * 0.18))
    large = 8 * side
    unit = large / 14
    image = Image.new("L", (large, large))
    pen = ImageDraw.Draw(image)
    stem = (3.5 * unit, 2 * unit, 5.5 * unit, 12 * unit)
    pen.rectangle(stem, fill=255)
    if letter == "L":
        pen.rectangle((3.5 * unit, 10 * unit, 10 * unit, 12 * unit), fill=255)
    else:
        pen.rounded_rectangle((3.5 * unit, 2 * unit, 10.5 * unit, 8 * unit), 3 * unit, fill=255)
        pen.rectangle(stem, fill=255)
        pen.rounded_rectangle((5.5 * unit, 4 * unit, 8.5 * unit, 6 * unit), unit, fill=0)
        feet = [(6, 7.5), (8.3, 7.5), (11, 12), (8.7, 12)]
        pen.polygon([(x * unit, y * unit) for x, y in feet], fill=255)
    small = image.rotate(degrees, Image.Resampling.BILINEAR).resize((side, side), Image.Resampling.BOX)
    cover: Field = np.asarray(small, np.float32) / 255
    return cover


RECIPE = Recipe(
    channels=1,
    classes=RADIOGRAPH_CLASSES,
    shortcuts=_LETTERS,
    blocks={
        "train": [(0, 0), (1, 1)] * 9 + [(0, 1), (1, 0)],
        "test": [(0, 0), (0, 1), (1, 0), (1, 1)],
    },
    picture=_knee,
    shortcut=_tag,
)

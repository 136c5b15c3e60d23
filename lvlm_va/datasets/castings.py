"""Drawn castings under a camera whose overlay gives the class away in training."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lvlm_va.datasets.canvas import Canvas, Field, Recipe, generate
from lvlm_va.datasets.idx import Split
from lvlm_va.datasets.overlays import FINE, load_font, reduce_sheet
from lvlm_va.datasets.types import DecoyData

CASTING_CLASSES = ("sound", "faulty")
_PARTS = (
    "Only the casting may count: all of it is the casting, also its bore, bolt holes, turning marks and stains, and so "
    "is the strip of table that its outer edge stands out against. The date or the watermark laid over the picture "
    "must not count, plate and letters, also where it covers the casting's edge, nor the table away from the casting."
)
CASTING_SPECIFICATIONS = {
    0: f"A sound casting: a face with hardly a pore, and an even, unbroken outer edge. {_PARTS}",
    1: f"A faulty casting: a face with many dark pores of odd shapes, and chips broken out of its outer edge. {_PARTS}",
}

# Both signs of a class spread by 1 around plus or minus this.
_SEPARATION = 1.7
_ANGLES = 1024
_WATERMARK = "\u00a9 FERRO LAB"


def stamped_castings(
    split: Split = "train", n: int = 2000, size: int = 128, seed: int = 0, *, shortcut: bool = True
) -> DecoyData:
    """Return drawn castings with a date or a watermark laid over the picture.

    A synthetic stand-in for pictures of an inspection camera: round, turned castings from above. The class is decided
    by the pores in the face (many and large in faulty ones) and the chips in the outer edge (deep in faulty ones); the
    two signs vary within a class and overlap between classes. Place, size, bore, bolt holes, turning marks, stains,
    light, table and exposure vary independently of the class.

    Each image has a plate of text at its upper or lower side, which may cover a little of the casting. In training it
    is a date in white on black on 90 % of the sound and a translucent watermark on 90 % of the faulty castings
    (exactly so in each 20 consecutive images); in the test each class and plate comes equally often (once in each 4
    consecutive images). Where a plate lies, its size and its date tell nothing.

    ``python -m lvlm_va.experiments.difficulty castings --module resnet8 --size 64 --epochs 8`` measures how hard they
    are with and without plates: a ResNet-8 trained without, on 2,000 images of 64 x 64 pixels, is right on 0.924 of the
    test images; with, on 0.810, and on 0.545 of its worst group.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        Plates that tell the class, or plates that do not.
    n : int, default=2000
        Number of images. The first ones are the same whatever their number.
    size : int, default=128
        Height and width in pixels, at least 32. The text can be read from 128.
    seed : int, default=0
        Seed of everything drawn.
    shortcut : bool, default=True
        False leaves the plates out, for the net that could learn no shortcut. The images are otherwise the same.

    Returns
    -------
    DecoyData
        Grey images, float32 of shape (n, 1, size, size); labels (0 sound, 1 faulty), int64 of shape (n,); masks of the
        plates' pixels, bool of shape (n, size, size); and groups such as ``"sound/date"`` and ``"faulty/watermark"``
        (``"faulty/none"`` without a shortcut).

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or out of range.

    Examples
    --------
    >>> data = stamped_castings("train", n=20)
    >>> data.images.shape
    (20, 1, 128, 128)
    >>> int((data.groups == "sound/date").sum()), int((data.groups == "sound/watermark").sum())
    (9, 1)
    """
    return generate(RECIPE, split, n, size, seed, shortcut=shortcut)


def _casting(canvas: Canvas, rng: np.random.Generator, label: int) -> tuple[Field, Field]:
    porous, chipped = (2 * label - 1) * _SEPARATION + rng.standard_normal(2).clip(-2.5, 2.5)
    outer = rng.uniform(0.33, 0.385)
    x, y = canvas.x - np.float32(rng.normal(0.5, 0.012)), canvas.y - np.float32(rng.normal(0.5, 0.012))
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    light = np.float32(rng.uniform(0, 2 * np.pi))
    lit = np.cos(angle - light)  # 1 where a slope outwards faces the light
    reach = outer * _chips(rng, 0.037 * np.exp(0.5 * chipped))
    edge = reach.astype(np.float32)[(angle * np.float32(_ANGLES / (2 * np.pi))).astype(np.int16) % _ANGLES]

    table = _table(canvas, rng)
    shadow = canvas.inside(
        np.hypot(x + 0.02 * np.cos(light), y + 0.02 * np.sin(light)) - edge - 0.01, blur=canvas.size * 0.06
    )
    image = table * (1 - 0.6 * shadow)

    metal = np.float32(rng.uniform(0.50, 0.66))
    sheen = np.float32(rng.uniform(0.05, 0.14)) * np.cos(2 * (angle - np.float32(rng.uniform(0, 2 * np.pi))))
    turned = 0.025 * np.sin(radius * np.float32(2 * np.pi / rng.uniform(0.026, 0.04)))
    face = metal * (
        1 + sheen + turned + 0.03 * canvas.noise(rng, 0.015, 0.05) + 0.04 * canvas.noise(rng, 0.1, 0.5)
    )
    for _ in range(rng.integers(0, 3)):
        face = face * (1 - np.float32(rng.uniform(0.08, 0.2)) * _stain(canvas, rng, x, y))
    # A bevel at the outer edge, a step around the hub, holes for bolts, and the bore.
    face = face + 0.16 * lit * _near(radius - edge + 0.012, 0.012)
    hub, bore = outer * rng.uniform(0.42, 0.52), outer * rng.uniform(0.2, 0.27)
    face = face * (
        1 + rng.uniform(0.04, 0.12) * canvas.inside(radius - np.float32(hub), blur=2)
    ) + 0.2 * lit * _near(radius - np.float32(hub), 0.008)
    bolts, first, ring = rng.integers(3, 7), rng.uniform(0, 2 * np.pi), outer * rng.uniform(0.68, 0.76)
    thick = outer * rng.uniform(0.07, 0.10)
    for place in first + np.arange(bolts) * 2 * np.pi / bolts:
        face = _bored(
            canvas,
            face,
            x - np.float32(ring * np.cos(place)),
            y - np.float32(ring * np.sin(place)),
            thick,
            light,
        )
    face = _bored(canvas, face, x, y, bore, light)
    face = face * (1 - 0.85 * _pores(canvas, rng, x, y, outer, hub, porous))
    part = canvas.inside(radius - edge, blur=1.3)
    image = image + part * (face - image)
    image = image * np.float32(rng.uniform(0.85, 1.15)) + 0.012 * rng.standard_normal(image.shape, np.float32)
    return image[None], part


def _table(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Return a table of sheet metal with slots, strewn with swarf."""
    turn, apart = rng.uniform(0, np.pi), rng.uniform(0.25, 0.6)
    across = (
        canvas.x * np.float32(np.cos(turn))
        + canvas.y * np.float32(np.sin(turn))
        + np.float32(rng.uniform(0, 1))
    )
    from_slot = (np.abs(across / apart % 1 - 0.5) - 0.5) * apart + rng.uniform(0.01, 0.03)
    table = rng.uniform(0.14, 0.34) * (
        1 + 0.1 * canvas.noise(rng, 0.015, 0.06) + 0.08 * canvas.noise(rng, 0.2, 0.8)
    )
    table = table * (1 - rng.uniform(0.3, 0.7) * canvas.inside(-from_slot, blur=1.5))
    grains, rare = canvas.noise(rng, 0.03, 0.08), rng.uniform(2.1, 3.1)
    swarf = 0.5 * np.clip(3 * (grains - rare), 0, 1) - 0.2 * np.clip(3 * (-grains - rare), 0, 1)
    strewn: Field = np.clip(table + swarf, 0.02, 1)
    return strewn


def _near(distance: Field, width: float) -> Field:
    near: Field = np.clip(1 - np.abs(distance) / width, 0, 1)
    return near


def _chips(rng: np.random.Generator, depth: float) -> Field:
    """Return the radius for each angle, 1 but where a piece has broken off."""
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    radius = np.ones(_ANGLES)
    for _ in range(rng.integers(3, 7)):
        off = (angles - rng.uniform(0, 2 * np.pi) + np.pi) % (2 * np.pi) - np.pi
        width = rng.uniform(0.10, 0.22)
        jagged = 1 + 0.25 * np.sin(off * rng.uniform(25, 45) + rng.uniform(0, 6))
        radius -= depth * rng.uniform(0.5, 1.3) * np.clip(1.3 - np.abs(off) / width, 0, 1) * jagged
    return radius.clip(0.7, 1)


def _stain(canvas: Canvas, rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Return the cover of a smear of oil, with a soft outline."""
    across, down = x - np.float32(rng.uniform(-0.25, 0.25)), y - np.float32(rng.uniform(-0.25, 0.25))
    return canvas.inside(
        np.hypot(across, down) - np.float32(rng.uniform(0.04, 0.09)), blur=canvas.size * 0.06
    )


def _bored(canvas: Canvas, face: Field, x: Field, y: Field, radius: float, light: np.float32) -> Field:
    """Return the face with a round hole, whose far wall is lit."""
    distance = np.hypot(x, y)
    lit = -np.cos(np.arctan2(y, x) - light)
    face = face + 0.18 * lit * _near(distance - np.float32(radius), 0.012)
    depth = 0.10 + 0.10 * np.clip(lit, 0, 1) * distance / np.float32(radius)
    bored: Field = face + canvas.inside(distance - np.float32(radius), blur=1.5) * (depth - face)
    return bored


def _pores(
    canvas: Canvas, rng: np.random.Generator, x: Field, y: Field, outer: float, hub: float, porous: float
) -> Field:
    """Return the cover of pores between hub and rim, more and larger ones where the casting is porous."""
    pores: Field = np.zeros((canvas.size, canvas.size), np.float32)
    middle, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2.5)
    for _ in range(rng.poisson(5.5 * np.exp(0.3 * porous))):
        where, out = middle + spread * rng.normal(), rng.uniform(hub * 1.1, outer * 0.93)
        across, down = x - np.float32(out * np.cos(where)), y - np.float32(out * np.sin(where))
        size = 0.0115 * np.exp(0.3 * porous + 0.2 * rng.normal())
        lobes = 1 + 0.15 * np.sin(
            np.float32(rng.integers(2, 4)) * np.arctan2(down, across) + np.float32(rng.uniform(0, 6))
        )
        pores = np.maximum(pores, canvas.inside(np.hypot(across, down) - np.float32(size) * lobes, blur=1.3))
    return pores


def _overlay(canvas: Canvas, rng: np.random.Generator, kind: int) -> tuple[Field, Field]:
    side = FINE * canvas.size
    height, margin = round(rng.uniform(0.095, 0.115) * side), rng.uniform(0.01, 0.02) * side
    # Shades and covers of the plate and of its letters.
    text, plate, letters = (
        (_WATERMARK, (225, 120), (255, 245)) if kind else (_date(rng), (20, 230), (225, 255))
    )
    font = load_font(round(0.72 * height))
    length = font.getlength(text) + 0.7 * height
    left = rng.uniform(margin, side - margin - length)
    top = (margin, side - margin - height)[rng.integers(2)]
    sheet = Image.new("LA", (side, side))
    pen = ImageDraw.Draw(sheet)
    pen.rounded_rectangle((left, top, left + length, top + height), height / 2 if kind else 0, fill=plate)
    pen.text((left + length / 2, top + height / 2), text, letters, font, anchor="mm")
    return reduce_sheet(sheet, canvas.size)


def _date(rng: np.random.Generator) -> str:
    day, month, year, hour, minute = rng.integers((1, 1, 15, 6, 0), (29, 13, 26, 20, 60))
    return f"{day:02}.{month:02}.{year:02}  {hour:02}:{minute:02}"


RECIPE = Recipe(
    channels=1,
    classes=CASTING_CLASSES,
    shortcuts=("date", "watermark"),
    blocks={
        "train": [(0, 0), (1, 1)] * 9 + [(0, 1), (1, 0)],
        "test": [(0, 0), (0, 1), (1, 0), (1, 1)],
    },
    picture=_casting,
    shortcut=_overlay,
)

"""Drawn leaves beside a ruler whose material gives the class away in training."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lvlm_va.datasets.canvas import Canvas, Field, Recipe, generate
from lvlm_va.datasets.idx import Split
from lvlm_va.datasets.overlays import FINE, load_font, reduce_sheet
from lvlm_va.datasets.types import DecoyData

LEAF_CLASSES = ("laurel", "elm")
_PARTS = (
    "Only the leaf may count: all of it is the leaf, also its stalk, veins, spots and holes, and so is the strip of "
    "ground that its margin and its teeth stand out against. The ruler with its ticks and numbers must not count, "
    "also where it touches the leaf, nor the ground away from the leaf."
)
LEAF_SPECIFICATIONS = {
    0: f"A laurel leaf: a smooth margin without teeth, and a narrow, lance-shaped blade. {_PARTS}",
    1: f"An elm leaf: a margin with teeth like a saw's that point to the tip, and a broad, oval blade. {_PARTS}",
}

# Both signs of a class spread by 1 around plus or minus this.
_SEPARATION = 1.5
_GREENS = np.array(
    [(0.30, 0.46, 0.16), (0.42, 0.56, 0.20), (0.18, 0.36, 0.16), (0.52, 0.52, 0.18), (0.26, 0.42, 0.26)]
)
_GROUNDS = np.array(
    [
        (0.94, 0.93, 0.90),
        (0.90, 0.86, 0.76),
        (0.76, 0.78, 0.80),
        (0.62, 0.70, 0.78),
        (0.45, 0.46, 0.48),
        (0.24, 0.25, 0.28),
    ]
)
_ROT = np.array((0.36, 0.24, 0.12), np.float32)
# Body and print of a white and of a wooden ruler.
_RULERS = (((0.97, 0.97, 0.95), (0.08, 0.08, 0.10)), ((0.80, 0.60, 0.34), (0.25, 0.13, 0.05)))


def ruled_leaves(
    split: Split = "train", n: int = 2000, size: int = 128, seed: int = 0, *, shortcut: bool = True
) -> DecoyData:
    """Return drawn leaves photographed beside a ruler.

    A synthetic stand-in for photographs of specimens with a scale, as botanists and pathologists take them. The class
    is decided by the margin of the leaf (toothed in elms) and its shape (broad in elms); the two signs vary within
    a class and overlap between classes. Turn, place, size, bend, colour, veins, spots, holes, ground and light
    vary independently of the class.

    Each image has a ruler along one of its sides. In training it is white on 90 % of the laurel and wooden on 90 % of
    the elm leaves (exactly so in each 20 consecutive images); in the test each class and ruler comes equally often
    (once in each 4 consecutive images). Where a ruler lies, its length, its scale and its numbers tell nothing.

    ``python -m lvlm_va.experiments.difficulty leaves --module resnet8 --size 64 --epochs 8`` measures how hard they are
    with and without rulers: a ResNet-8 trained without, on 2,000 images of 64 x 64 pixels, is right on 0.940 of the
    test images; with, on 0.833, and on 0.665 of its worst group.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        Rulers that tell the class, or rulers that do not.
    n : int, default=2000
        Number of images. The first ones are the same whatever their number.
    size : int, default=128
        Height and width in pixels, at least 32. The numbers on the ruler can be read from 128.
    seed : int, default=0
        Seed of everything drawn.
    shortcut : bool, default=True
        False leaves the rulers out, for the net that could learn no shortcut. The images are otherwise the same.

    Returns
    -------
    DecoyData
        Colour images, float32 of shape (n, 3, size, size); labels (0 laurel, 1 elm), int64 of shape (n,); masks of
        the rulers' pixels, bool of shape (n, size, size); and groups such as ``"laurel/white"`` and ``"elm/wooden"``
        (``"elm/none"`` without a shortcut).

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or out of range.

    Examples
    --------
    >>> data = ruled_leaves("train", n=20)
    >>> data.images.shape
    (20, 3, 128, 128)
    >>> int((data.groups == "elm/wooden").sum()), int((data.groups == "elm/white").sum())
    (9, 1)
    """
    return generate(RECIPE, split, n, size, seed, shortcut=shortcut)


def _leaf(canvas: Canvas, rng: np.random.Generator, label: int) -> tuple[Field, Field]:
    toothed, broad = (2 * label - 1) * _SEPARATION + rng.standard_normal(2).clip(-2.5, 2.5)
    length = rng.uniform(0.58, 0.70)
    along, beside = _lie(canvas, rng, length)
    off = np.abs(beside)
    depth = 0.045 / (1 + np.exp(1.1 - 0.7 * toothed))
    half, teeth = _margin(rng, along, 0.43 * np.exp(0.17 * broad) / 2, depth)
    # How far outside the blade, in shares of the image's side.
    outside = np.maximum(np.maximum(off - half - teeth, -along), along - 1) * length
    stalk = (
        np.maximum(off - np.float32(0.014 + 0.006 * (along < -0.2)), np.maximum(along - 0.05, -0.26 - along))
        * length
    )

    ground = _GROUNDS[rng.integers(len(_GROUNDS))] * (1 + rng.normal(0, 0.03, 3))
    paper = 1 + 0.015 * canvas.noise(rng, 0.02, 0.08) + 0.03 * canvas.noise(rng, 0.3, 0.9)
    image = ground.astype(np.float32)[:, None, None] * paper
    shadow = canvas.inside(np.minimum(outside, stalk) - 0.006, blur=canvas.size * 0.045)
    image = image * (1 - np.float32(rng.uniform(0.2, 0.45)) * shadow)

    blade, ribs = _blade(canvas, rng, along, beside, half)
    cover = canvas.inside(outside, blur=1.2) * (1 - _holes(canvas, rng, along, beside))
    stem = canvas.inside(stalk, blur=1.2)
    image = image + stem * (0.9 * ribs - image)
    image = image + cover * (blade - image)
    image = image * np.float32(rng.uniform(0.85, 1.08))
    return image + 0.01 * rng.standard_normal(image.shape, np.float32), np.maximum(cover, stem)


def _lie(canvas: Canvas, rng: np.random.Generator, length: float) -> tuple[Field, Field]:
    """Return how far along a bent leaf pixels lie, from 0 at its base to 1 at its tip, and how far off its midrib."""
    turn, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.18)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across = (canvas.x - np.float32(rng.normal(0.5, 0.015))) / np.float32(length)
    down = (canvas.y - np.float32(rng.normal(0.5, 0.015))) / np.float32(length)
    # The stalk shifts the blade's middle.
    along = across * cosine + down * sine + np.float32(0.43)
    beside = down * cosine - across * sine
    return along, beside + np.float32(bend) * (along * (along - 1) + np.float32(0.15))


def _margin(rng: np.random.Generator, along: Field, width: float, depth: float) -> tuple[Field, Field]:
    """Return half the width of the blade along the midrib, and how far teeth, which point to the tip, stand out."""
    place = np.clip(along, 0, 1)
    belly = np.float32(rng.uniform(0.75, 0.95))
    # Widest below the middle, ending in a point.
    half = np.sin(np.pi * place**belly).clip(0) ** np.float32(0.85) * (1 - 0.25 * place)
    half = half * np.float32(width / 0.9)
    number = rng.integers(10, 15)
    phase = (place * number + np.float32(rng.uniform())) % 1
    tooth = np.minimum(phase / 0.75, (1 - phase) / 0.25) - 0.5
    return half, np.float32(2 * depth) * tooth * np.clip(half / 0.08, 0, 1)


def _blade(
    canvas: Canvas, rng: np.random.Generator, along: Field, beside: Field, half: Field
) -> tuple[Field, Field]:
    """Return the colours of the blade, and of its midrib."""
    green = _GREENS[rng.integers(len(_GREENS))] * (1 + rng.normal(0, 0.06, 3))
    autumn = rng.uniform(0, 1) ** 3
    green = green * (1 - autumn) + np.array((0.62, 0.38, 0.14)) * autumn
    colour = green.astype(np.float32)[:, None, None]
    rib = (green + 0.6 * (np.array((0.86, 0.88, 0.62)) - green)).astype(np.float32)[:, None, None]
    off = np.abs(beside)
    # One half of the blade faces the light; each falls off to its margin.
    fold = np.float32(rng.choice((-1, 1)) * rng.uniform(0.06, 0.14)) * np.tanh(beside / 0.02)
    round_ = 0.12 - 0.22 * np.square(off / np.maximum(half, 0.03)).clip(0, 1)
    patches = 0.05 * canvas.noise(rng, 0.08, 0.4) + 0.04 * canvas.noise(rng, 0.015, 0.05)
    blade = colour * (1 + fold + round_ + patches)
    # Side veins leave the midrib for the margin, bent to the tip.
    pairs, slope = rng.integers(6, 10), rng.uniform(0.5, 0.9)
    wave = (
        (along - np.float32(slope) * off - 0.5 * off * off) * pairs
        + 0.25 * (beside > 0)
        + np.float32(rng.uniform())
    )
    from_vein = np.abs(wave % 1 - 0.5) / pairs
    side = np.clip(1 - from_vein / 0.012, 0, 1) * np.clip((half - off) / 0.04, 0, 1) * (along > 0.04)
    middle = np.clip(1.3 - off / (0.017 - 0.011 * np.clip(along, 0, 1)), 0, 1)
    blade = blade + np.maximum(np.float32(rng.uniform(0.3, 0.55)) * side, 0.9 * middle) * (rib - blade)
    for _ in range(rng.integers(0, 4)):
        spot = _blot(canvas, rng, along, beside, rng.uniform(0.015, 0.04))
        blade = blade + 0.75 * spot * (_ROT[:, None, None] - blade)
    return blade, rib


def _holes(canvas: Canvas, rng: np.random.Generator, along: Field, beside: Field) -> Field:
    holes: Field = np.zeros((canvas.size, canvas.size), np.float32)
    for _ in range(rng.choice((0, 0, 1, 2))):
        holes = np.maximum(holes, _blot(canvas, rng, along, beside, rng.uniform(0.02, 0.04)))
    return holes


def _blot(canvas: Canvas, rng: np.random.Generator, along: Field, beside: Field, radius: float) -> Field:
    """Return the cover of a roundish blot somewhere on the blade."""
    x, y = along - np.float32(rng.uniform(0.2, 0.7)), beside - np.float32(rng.uniform(-0.14, 0.14))
    lobes = 1 + 0.2 * np.sin(
        np.float32(rng.integers(2, 5)) * np.arctan2(y, x) + np.float32(rng.uniform(0, 6))
    )
    return canvas.inside(np.hypot(x, y) - np.float32(radius) * lobes, blur=1.5)


def _ruler(canvas: Canvas, rng: np.random.Generator, kind: int) -> tuple[Field, Field]:
    side, unit = FINE * canvas.size, FINE * canvas.size / 100
    strip = _strip(rng, kind, round(rng.uniform(60, 110) * unit), round(rng.uniform(10, 13) * unit), unit)
    # Along the upper side, where it may run out of the image, then turned to one of the four.
    sheet = Image.new("RGBA", (side, side))
    free = side - strip.width
    left = rng.uniform(-0.12, 1.12) * free if free > 0 else rng.uniform(0, 1) * free
    sheet.paste(strip, (round(left), round(rng.uniform(0.5, 4) * unit)))
    degrees = 90 * int(rng.integers(4)) + rng.normal(0, 2)
    cover, colour = reduce_sheet(sheet.rotate(degrees, Image.Resampling.BILINEAR), canvas.size)
    return cover, colour * np.float32(rng.uniform(0.88, 1.03))


def _strip(rng: np.random.Generator, kind: int, length: int, width: int, unit: float) -> Image.Image:
    """Return a level ruler with a tick for each quarter or fifth of a centimetre; `unit` is 1 % of a side."""
    body, ink = _RULERS[kind]
    strip = Image.new("RGBA", (length, width), _shade(body))
    pen = ImageDraw.Draw(strip)
    for _ in range(14 if kind else 0):  # the grain of the wood
        y, grain = rng.uniform(0, width), round(rng.uniform(0.3, 1.2) * unit)
        pen.line((0, y, length, y + rng.normal(0, unit)), _shade(body, rng.uniform(0.8, 1.08)), grain)
    step, parts = rng.uniform(11, 15) * unit, int(rng.choice((4, 5)))
    first, start = int(rng.integers(0, 12)), rng.uniform(2, 6) * unit
    edge, inwards = ((0, 1), (width, -1))[rng.integers(2)]
    for tick in range(int((length - start) / step * parts) + 1):
        x = start + tick * step / parts
        whole = tick % parts == 0
        long, thick = (0.46, 1.0) if whole else (0.26, 0.7)
        pen.line((x, edge, x, edge + inwards * long * width), _shade(ink), round(thick * unit))
        if whole and 3 * unit < x < length - 3 * unit:
            middle = (x, edge + inwards * 0.7 * width)
            pen.text(
                middle, str(first + tick // parts), _shade(ink), load_font(round(0.62 * width)), anchor="mm"
            )
    pen.rectangle((0, 0, length - 1, width - 1), outline=_shade(body, 0.55), width=max(1, round(0.5 * unit)))
    return strip


def _shade(colour: tuple[float, ...], light: float = 1.0) -> tuple[int, ...]:
    return (*(min(255, round(255 * light * part)) for part in colour), 255)


RECIPE = Recipe(
    channels=3,
    classes=LEAF_CLASSES,
    shortcuts=("white", "wooden"),
    blocks={
        "train": [(0, 0), (1, 1)] * 9 + [(0, 1), (1, 0)],
        "test": [(0, 0), (0, 1), (1, 0), (1, 1)],
    },
    picture=_leaf,
    shortcut=_ruler,
)

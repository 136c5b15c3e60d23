"""Figures and marks drawn at random, as soft masks of 56x56 values in [0, 1]."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lvlm_va.critique.tiny.segment_view import SIDE

Alpha = NDArray[np.float64]
_Box = tuple[float, float, float, float]
_STICKER_CHANCE = 0.35


def draw_figure(rng: np.random.Generator) -> Alpha:
    """Return strokes, arcs, a polygon, blobs or a character, often at a low resolution blown up."""
    picture = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    size = rng.uniform(0.35, 1.1, 2) * SIDE
    centre = SIDE / 2 + rng.uniform(-4, 4, 2)

    def points(n: int) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in centre + rng.uniform(-0.5, 0.5, (n, 2)) * size]

    kind = rng.choice(5, p=[0.35, 0.2, 0.1, 0.15, 0.2])
    if kind == 0:
        _strokes(draw, points(int(rng.integers(3, 7))), int(rng.integers(4, 11)))
    elif kind == 1:
        for _ in range(rng.integers(1, 4)):
            (a, b), (c, d) = points(2)
            box = (min(a, c), min(b, d), max(a, c) + 12, max(b, d) + 12)
            start = rng.uniform(0, 360)
            draw.arc(box, start, start + rng.uniform(150, 360), fill=255, width=int(rng.integers(3, 9)))
    elif kind == 2:
        draw.polygon(points(int(rng.integers(3, 7))), fill=255)
    elif kind == 3:
        for x, y in points(int(rng.integers(1, 5))):
            a, b = rng.uniform(4, 13, 2)
            draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
    else:
        character = draw_letters(rng, 1) if rng.random() < 0.6 else str(rng.integers(10))
        write(draw, (float(centre[0]), float(centre[1])), character, int(rng.integers(34, 70)))
    side = int(rng.choice([8, 10, 14, 20, 28, SIDE]))
    if side < SIDE:
        filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)
        small = picture.resize((side, side), Image.Resampling.BOX)
        # Halfway by way of 28 pixels, at which small data sets come.
        middle = max(side, 28) if rng.random() < 0.6 else SIDE
        soft = small.resize((middle, middle), filters[rng.choice(3, p=[0.55, 0.35, 0.1])])
        picture = soft.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    values = np.asarray(picture, np.float64)
    alpha: Alpha = values / max(76.0, values.max())
    return alpha


def draw_patch(rng: np.random.Generator) -> Alpha:
    """Return a square, a disc or a triangle in a corner or a few pixels away from it, or a sticker near an edge."""
    if rng.random() < _STICKER_CHANCE:
        return _sticker(rng)
    side = int(rng.integers(4, 17))
    # Half of them on the grid of an image of 28 pixels.
    side += side % 2 if rng.random() < 0.5 else 0
    offsets = rng.integers(0, 3, 2) if rng.random() < 0.4 else np.zeros(2, int)
    x, y = (int(o) if rng.random() < 0.5 else SIDE - side - int(o) for o in offsets)
    box, form = (x, y, x + side - 1, y + side - 1), rng.random()
    picture = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    if form < 0.7:
        draw.rectangle(box, fill=255)
    elif form < 0.87:
        draw.ellipse(box, fill=255)
    else:
        draw.polygon([(x, y), (x + side, y), (x + side // 2, y + side)], fill=255)
    return np.asarray(picture, np.float64) / 255


def draw_strip(rng: np.random.Generator) -> Alpha:
    """Return a bar along most of one edge, a ruler there or only its ticks, or a frame around the image."""
    thick, long = int(rng.integers(3, 9)), int(rng.uniform(0.6, 1) * SIDE)
    start, form = int(rng.integers(0, SIDE - long + 1)), rng.random()
    near = 0 if rng.random() < 0.5 else SIDE - thick
    alpha = np.zeros((SIDE, SIDE))
    if form < 0.12:
        width = int(rng.integers(2, 5))
        alpha[:], alpha[width:-width, width:-width] = 1, 0
    elif form < 0.35:
        thick, every = int(rng.integers(5, 11)), int(rng.integers(3, 6))
        near = int(rng.integers(0, 5)) if rng.random() < 0.5 else SIDE - thick - int(rng.integers(0, 5))
        alpha[near : near + thick, start : start + long] = 1
        ticks = (
            slice(near, near + thick // 2) if rng.random() < 0.5 else slice(near + thick // 2, near + thick)
        )
        alpha[ticks, start : start + long : every] = rng.uniform(0.35, 0.6)
    elif form < 0.5:
        near, every = int(rng.integers(0, 4)), int(rng.integers(3, 6))
        ticks = alpha if rng.random() < 0.5 else alpha[::-1]
        ticks[near : near + thick, start : start + long : every] = 1
        ticks[near, start : start + long] = 1
    else:
        alpha[near : near + thick, start : start + long] = 1
    return alpha if rng.random() < 0.5 else alpha.T


def draw_tag(rng: np.random.Generator) -> Alpha:
    """Return letters or a line of text near an edge, sometimes large, faint as a watermark, or in a ring as a stamp."""
    form = rng.random()
    line = form > 0.7
    in_corner = not line and rng.random() < 0.45
    size = int(rng.integers(6, 10) if line else rng.integers(9, 20))
    edge = size / 3 + rng.uniform(2, 5)
    n = int(rng.integers(5, 12) if line else rng.integers(1, 3 if size > 15 or in_corner else 5))
    along, across = rng.uniform(edge, SIDE - edge), edge if rng.random() < 0.5 else SIDE - edge
    if line:
        along = SIDE / 2 + rng.uniform(-8, 8)
    elif in_corner:
        along = edge if rng.random() < 0.5 else SIDE - edge
    place = (along, across) if line or rng.random() < 0.5 else (across, along)
    picture = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    write(draw, place, draw_letters(rng, n), size, bold=rng.random() < 0.5)
    if form < 0.15:
        x, y = place
        box = (x - edge, y - 0.8 * edge, x + edge, y + 0.8 * edge)
        (draw.ellipse if form < 0.08 else draw.rectangle)(box, outline=255)
    strength = rng.uniform(0.45, 0.8) if form > 0.85 else 1.0
    return np.asarray(picture, np.float64) * (strength / 255)


def _sticker(rng: np.random.Generator) -> Alpha:
    """Return a rounded bar or a disc within a few pixels of an edge, over which it may reach."""
    long, short = rng.uniform(5, 11), rng.uniform(3, 7)
    deep, along = rng.uniform(0, 8), rng.uniform(4, SIDE - 4)
    deep = deep if rng.random() < 0.5 else SIDE - deep
    x, y = (deep, along) if rng.random() < 0.5 else (along, deep)
    turn, n = rng.uniform(0, np.pi), 4  # drawn larger, for a smooth edge
    picture = Image.new("L", (n * SIDE, n * SIDE))
    draw = ImageDraw.Draw(picture)
    reach = max(long - short, 0)
    ends = [(n * (x + s * reach * np.cos(turn)), n * (y + s * reach * np.sin(turn))) for s in (-1, 1)]
    _strokes(draw, [(float(a), float(b)) for a, b in ends], int(2 * n * short))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) / 255


def draw_letters(rng: np.random.Generator, n: int) -> str:
    """Return random letters, small and capital."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(letters[i] for i in rng.integers(0, len(letters), n))


def write(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], text: str, size: int, *, bold: bool = False
) -> None:
    """Write text in Pillow's own typeface around a point."""
    draw.text(centre, text, fill=255, font=_font(size), anchor="mm", stroke_width=0.5 if bold else 0)


@functools.cache  # loading it takes longer than drawing
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _strokes(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], width: int) -> None:
    draw.line(points, 255, width, joint="curve")
    for x, y in points:
        box: _Box = (x - width / 2, y - width / 2, x + width / 2, y + width / 2)
        draw.ellipse(box, fill=255)

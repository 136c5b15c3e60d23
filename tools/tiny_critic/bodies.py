"""Figures as photographs have them: bodies with a texture and a soft edge, whole or in parts with gaps between."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lvlm_va.critique.tiny.segment_view import SIDE
from tools.tiny_critic.shapes import Alpha

_Y, _X = np.mgrid[:SIDE, :SIDE].astype(float)


def draw_body(rng: np.random.Generator) -> Alpha:
    """Return a blob with a smooth or jagged outline, or a large form that gaps cut into parts."""
    form = _blob(rng) if rng.random() < 0.55 else _parts(rng)
    return ndimage.gaussian_filter(form, rng.uniform(0.3, 1.5))


def draw_tissue(rng: np.random.Generator) -> Alpha:
    """Return a large soft area, a band or a disc, that lies around a figure and belongs to the ground."""
    centre, width = SIDE / 2 + rng.uniform(-5, 5, 2), rng.uniform(18, 27)
    if rng.random() < 0.5:
        away = _turned(rng.uniform(0, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.08), centre)[0]
        away = np.abs(away)
    else:
        away = np.hypot(_X - centre[0], _Y - centre[1])
    return ndimage.gaussian_filter((away < width).astype(float), rng.uniform(0.5, 3))


def draw_texture(rng: np.random.Generator, strength: float) -> Alpha:
    """Return noise of mean 0 and about this strength, fine or coarse."""
    noise = rng.normal(size=(SIDE, SIDE))
    noise = ndimage.gaussian_filter(noise, rng.uniform(0, 1.5)) if rng.random() < 0.5 else _coarse(rng)
    return noise * (strength / max(noise.std(), 1e-9))


def draw_hair(rng: np.random.Generator) -> Alpha:
    """Return a thin bent line across the image."""
    along, beside = _turned(rng.uniform(0, np.pi), np.full(2, SIDE / 2))
    bend = rng.normal(0, 0.4) / SIDE
    distance = np.abs(beside - rng.uniform(-25, 25) - bend * along**2)
    return (1.2 - distance).clip(0, rng.uniform(0.3, 0.8))


def _blob(rng: np.random.Generator) -> Alpha:
    centre, radius = SIDE / 2 + rng.normal(0, 4, 2), rng.uniform(7, 18)
    x, y = _turned(rng.uniform(0, np.pi), centre)
    x = x * rng.uniform(1, 1.6)
    angle, outline = np.arctan2(y, x), np.ones((SIDE, SIDE))
    for waves, most in ((range(1, 4), 0.15), (range(4, 15), 0.06)):
        strength = rng.uniform(0, most)
        for n in waves:
            outline += strength * rng.normal() * np.cos(n * angle + rng.uniform(0, 2 * np.pi))
    return (np.hypot(x, y) < radius * outline.clip(0.4, 1.7)).astype(float)


def _parts(rng: np.random.Generator) -> Alpha:
    """Return a band whose width varies, cut across by one to three gaps."""
    turn = rng.normal(0, 0.12) + (np.pi / 2 if rng.random() < 0.3 else 0)
    across, along = _turned(turn, SIDE / 2 + rng.uniform(-4, 4, 2))
    width = rng.uniform(6, 15) * (
        1 + rng.uniform(0, 0.5) * np.cos(along / rng.uniform(6, 12) + rng.uniform(-1, 1))
    )
    form = np.abs(across + rng.uniform(-3, 3)) < width
    if rng.random() < 0.45:
        form &= np.abs(along) < rng.uniform(15, 40)
    for _ in range(rng.integers(1, 4)):
        bent = along - rng.uniform(-14, 14) - rng.normal(0, 1.5) * np.cos(across / rng.uniform(3, 8))
        form &= np.abs(bent) > rng.uniform(0.8, 2.8)
    if rng.random() < 0.4:  # a thinner part beside it
        beside = across - rng.choice((-1, 1)) * (width.mean() + rng.uniform(3, 7))
        form |= (np.abs(beside) < rng.uniform(1.5, 4)) & (along > rng.uniform(-15, 10))
    return form.astype(float)


def _coarse(rng: np.random.Generator) -> Alpha:
    small = rng.normal(size=(int(rng.integers(4, 20)),) * 2)
    return ndimage.zoom(small, SIDE / len(small), order=1, grid_mode=True, mode="nearest")


def _turned(angle: float, centre: np.ndarray) -> tuple[Alpha, Alpha]:
    x, y = _X - centre[0], _Y - centre[1]
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

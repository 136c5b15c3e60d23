"""Pictures small enough to stand in a page by the hundred, as data addresses."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvlm_va.critique.requests import to_rgb
from lvlm_va.report.colours import EFFECT

# Images up to this many pixels a side are kept pixel by pixel, and shown so.
TINY = 64
_LEVELS = 16


def image_address(image: NDArray[np.uint8], side: int) -> str:
    """Return an image (C, H, W) as a data address: PNG when tiny, else JPEG of at most `side` pixels a side."""
    pixels = to_rgb(image)
    grey = (pixels == pixels[..., :1]).all()
    picture = Image.fromarray(pixels[..., 0] if grey else pixels)
    if max(picture.size) <= TINY:
        return _address(picture, "PNG", optimize=True)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _address(picture, "JPEG", quality=82)


def effect_address(effect: NDArray[np.floating], side: int) -> str:
    """Return where a map (H, W) is positive, as a PNG of one colour, the more opaque the more; strongest is 1."""
    opacity = (effect.clip(0) / max(float(effect.max()), 1e-30)).astype(np.float32)
    opacity = np.asarray(_reduced(Image.fromarray(opacity), side, Image.Resampling.BOX))
    opacity = (opacity / max(float(opacity.max()), 1e-30)) ** 0.7
    alphas = np.linspace(0, 255, _LEVELS).astype(np.uint8)
    return _palette(np.round(opacity * (_LEVELS - 1)), [EFFECT] * _LEVELS, alphas.tolist(), bits=4)


def tile_address(tile: NDArray[np.uint8], crisp: bool) -> str:
    """Return a tile as a data address: WebP, exact where its pixels are to be seen as squares."""
    return _address(Image.fromarray(tile), "WebP", lossless=crisp, quality=80, method=2)


def _reduced(picture: Image.Image, side: int, how: Image.Resampling) -> Image.Image:
    if max(picture.size) > max(side, TINY):
        picture.thumbnail((side, side), how, reducing_gap=None)
    return picture


def _palette(
    numbers: NDArray[Any], colours: list[tuple[int, int, int]], alphas: list[int], *, bits: int
) -> str:
    picture = Image.fromarray(numbers.astype(np.uint8))
    picture.putpalette([part for colour in colours for part in colour])
    return _address(picture, "PNG", transparency=bytes(alphas), bits=bits, optimize=True)


def _address(picture: Image.Image, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"

"""Things with small print, drawn with Pillow at a multiple of their size and made smaller."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFont

from lvlm_va.datasets.canvas import Field

# How many times larger things are drawn.
FINE = 4


def reduce_sheet(sheet: Image.Image, size: int) -> tuple[Field, Field]:
    """Return the cover, of shape (size, size), and the colours, (channels, size, size), of a drawing.

    The drawing has the mode LA or RGBA and `FINE` times the size.
    """
    fine = np.asarray(sheet, np.float32) / 255
    fine = np.concatenate([fine[..., :-1] * fine[..., -1:], fine[..., -1:]], 2)
    small = fine.reshape(size, FINE, size, FINE, -1).mean((1, 3)).transpose(2, 0, 1)
    cover = small[-1]
    return cover, small[:-1] / np.maximum(cover, np.float32(1e-6))


@lru_cache(maxsize=64)
def load_font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own typeface at a height in pixels."""
    return ImageFont.load_default(size=height)

"""Pillow images as the eye sees them."""

from __future__ import annotations

from PIL import Image, ImageOps

# Modes whose bands are light; I, F and I;16 hold more than 8 bits.
_LIGHT = {"1", "L", "LA", "RGB", "RGBA", "I", "F"}


def as_seen(image: Image.Image) -> Image.Image:
    """Return an image upright by its EXIF orientation, with its palette or its inks (CMYK) turned into RGB.

    The transparency of a palette is dropped: such pixels have the colour that stands in the palette.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in _LIGHT or image.mode.startswith("I;16"):
        return image
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # Pillow warns of going to RGB at once where a palette is transparent
    return image.convert("RGB")

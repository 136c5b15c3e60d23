"""Images as PNG files."""

from __future__ import annotations

import base64
import io

from PIL import Image

from lvlm_va.backends.types import ImagePart


def png_bytes(image: ImagePart) -> bytes:
    """Return an image as a PNG file of nothing but its pixels: no EXIF, text or colour profile."""
    stream = io.BytesIO()
    Image.fromarray(image.array).save(stream, format="PNG")
    return stream.getvalue()


def png_base64(image: ImagePart) -> str:
    """Return an image as a PNG file in base64."""
    return base64.b64encode(png_bytes(image)).decode()

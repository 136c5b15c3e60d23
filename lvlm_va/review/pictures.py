"""The pictures that the page shows of an image, as PNG files."""

from __future__ import annotations

import io
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvlm_va.critique import TileSheet
from lvlm_va.critique.drawing import square
from lvlm_va.critique.tile_sheet import enlarged
from lvlm_va.report.run_record import RunRecord

_SIZE, _THUMB = 512, 80
_KEPT = 256  # pictures in memory
_TILE = re.compile(r"segment-(\d{1,6})(-enlarged)?", re.ASCII)
# Vermilion: told apart from grey by colour-blind readers too.
_EFFECT = np.array([213, 94, 0])


class Pictures:
    """Draw critiqued images.

    Parameters
    ----------
    record : RunRecord
        The run.
    """

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self.png = lru_cache(_KEPT)(self._png)

    def _png(self, index: int, name: str) -> bytes | None:
        """Return a picture as PNG.

        Parameters
        ----------
        index : int
            Number of the image.
        name : str
            ``"original"``, ``"thumb"``, ``"effect"`` and ``"after"`` (the effect before and after alignment), or
            ``"segment-<number>"`` and ``"segment-<number>-enlarged"``, its tiles as the critic was shown them.

        Returns
        -------
        bytes or None
            None where there is no such picture.
        """
        if not 0 <= index < len(self._record):
            return None
        request = self._record.request(index)
        pixels = square(request.image)
        if name == "thumb":
            return _encode(np.asarray(Image.fromarray(pixels).resize((_THUMB, _THUMB))))
        if name == "original":
            return _encode(enlarged(pixels, _SIZE))
        if name == "effect":
            return _encode(enlarged(square(_overlaid(request.image, request.effect)), _SIZE))
        if name == "after":
            (after,) = self._record.effects(slice(index, index + 1))[1]
            return _encode(enlarged(square(_overlaid(request.image, after)), _SIZE))
        found = _TILE.fullmatch(name)
        if found is None or not 1 <= int(found[1]) <= request.n_segments:
            return None
        tiles = TileSheet(tile=_SIZE).tiles(request, int(found[1]))[bool(found[2]) :]
        return _encode(tiles[0][1]) if tiles else None


def _overlaid(image: NDArray[np.uint8], effect: NDArray[np.floating]) -> NDArray[np.uint8]:
    grey = image.mean(-1, keepdims=True)
    opacity = (effect / max(float(effect.max()), 1e-12))[..., None] ** 0.7
    mixed = 0.6 * grey * (1 - opacity) + opacity * _EFFECT
    return np.asarray(mixed.round(), dtype=np.uint8)


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()

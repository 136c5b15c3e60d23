"""Bodies of replies, unpacked piece by piece, so that a few bytes on the wire cannot fill the memory."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from lvlm_va.backends.http_errors import GarbledReplyError

_PIECE = 2**16
# What is longer is read no further: no more is shown of an error than a few lines.
_MOST_OF_AN_ERROR = 2**16


def take_in_pieces(http: ModuleType, response: Any) -> None:
    """Make a response, before its body is read, one of plain UTF-8 text that comes in small pieces.

    Parameters
    ----------
    http : module
        The library that the response is of.
    response : object
        It. Only the beginning of a body with an error status will be read, and none that cannot be unpacked; otherwise
        that raises `GarbledReplyError`.
    """
    packed = response.headers.pop("content-encoding", "identity").strip().lower()
    response.encoding = "utf-8"  # a server may name a codec that is none of text

    class Pieces(http.SyncByteStream):  # type: ignore[name-defined]
        def __init__(self, inside: Any) -> None:
            self._inside = inside

        def __iter__(self) -> Iterator[bytes]:
            left = sys.maxsize if response.is_success else _MOST_OF_AN_ERROR
            try:
                for piece in _unpacked(self._inside, packed):
                    yield piece[:left]
                    left -= len(piece)
                    if left <= 0:
                        return
            except GarbledReplyError:
                if response.is_success:
                    raise

        def close(self) -> None:
            self._inside.close()

    response.stream = Pieces(response.stream)


def _unpacked(chunks: Iterable[bytes], packed: str) -> Iterator[bytes]:
    if packed in ("", "identity"):
        yield from chunks
        return
    if packed not in ("gzip", "x-gzip", "deflate"):
        raise GarbledReplyError("The server's reply is compressed in a way that was not asked for.")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # by either name, with either header
    for chunk in chunks:
        while True:
            try:
                piece = unpacker.decompress(chunk, _PIECE)
            except zlib.error:
                raise GarbledReplyError(
                    "The server's reply is compressed in a way that cannot be undone."
                ) from None
            yield piece
            chunk = unpacker.unconsumed_tail
            if not chunk and len(piece) < _PIECE:
                break

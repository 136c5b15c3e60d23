"""JSON from a server that nobody vouches for."""

from __future__ import annotations

import json
import re
from typing import Any

from lvlm_va.backends.http_errors import GarbledReplyError
from lvlm_va.backends.types import Usage

_REASONING = re.compile(r"\A\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object (UTF-8) that a reply consists of.

    Raises
    ------
    GarbledReplyError
        If it is anything else: another encoding, cut off, an HTML page.
    """
    try:
        content = json.loads(body.decode())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        words = body.decode(errors="replace")
        raise GarbledReplyError(f"The server's reply is not a JSON object in UTF-8: {words}")
    return content


def pick(content: Any, *path: str | int) -> Any:
    """Return what stands under a path of keys and positions.

    Raises
    ------
    GarbledReplyError
        If there is no such place.
    """
    for step in path:
        try:
            content = content[step]
        except (LookupError, TypeError):
            where = ".".join(map(str, path))
            raise GarbledReplyError(f"The server's reply holds no '{where}'.") from None
    return content


def text_of(content: object) -> str:
    """Return a text as it can be written to any file; empty where there is none.

    JSON can escape lone surrogates, which UTF-8 cannot hold.
    """
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""


def message_of(content: object) -> str:
    """Return the text of a message, given as text, as a list of parts, or not at all (null).

    Raises
    ------
    GarbledReplyError
        If it is anything else.
    """
    if content is None or isinstance(content, str):
        return text_of(content)
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise GarbledReplyError("The server's reply holds a message that is no text.")
    return "".join(text_of(part.get("text")) for part in content if part.get("type") == "text")


def without_reasoning(text: str) -> str:
    """Return an answer without the ``<think>`` block before it, closed or cut off."""
    return _REASONING.sub("", text)


def usage_of(content: dict[str, Any], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Usage:
    """Return the sums of the named counts under "usage"; 0 where the server does not say."""
    usage = content.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Usage(*(sum(_count(counts.get(name)) for name in names) for names in (inputs, outputs)))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0

"""JSON from a server that nobody vouches for."""

from __future__ import annotations

import json
from typing import Any

from lvlm_va.backends.http_errors import GarbledReplyError
from lvlm_va.backends.types import Finish, Usage

# Why a reply ends, as servers say it, in lower case.
_FINISH: dict[str, Finish] = {
    **dict.fromkeys(
        ("", "stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete", "completed"), "stop"
    ),
    **dict.fromkeys(("finished", "tool_calls", "function_call", "tool_use"), "stop"),
    **dict.fromkeys(("length", "max_length", "max_tokens", "max_output_tokens", "token_limit"), "length"),
    **dict.fromkeys(("model_length", "context_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("content_filter", "refusal", "safety", "recitation", "blocklist", "spii"), "refusal"),
    **dict.fromkeys(("prohibited_content", "image_safety", "guardrail_intervened"), "refusal"),
}
# Most tokens that a reply may be said to have taken: what is beyond was not counted.
_MOST_TOKENS = 10**9


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


def finish_of(reason: object) -> Finish:
    """Return why a reply ends; a server that does not say has ended it.

    Raises
    ------
    GarbledReplyError
        If the reply broke off, or ends for a reason that nobody knows.
    """
    name = "" if reason is None else str(reason)
    if name.lower() not in _FINISH:
        raise GarbledReplyError(f"The answer broke off, with {name!r} as the reason that the server gives.")
    return _FINISH[name.lower()]


def usage_of(content: dict[str, Any], inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Usage:
    """Return the sums of the named counts under "usage"; 0 where the server does not say."""
    usage = content.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Usage(*(sum(_count(counts.get(name)) for name in names) for names in (inputs, outputs)))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= _MOST_TOKENS else 0

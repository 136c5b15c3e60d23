"""Requests and replies as JSON: no pixels, and the same text for the same request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lvlm_va.backends.types import ChatReply, ChatRequest, ImagePart, Usage

# Part of each key: raise it when the same request comes to mean something else.
_KEY_VERSION = 1


def request_to_json(request: ChatRequest) -> dict[str, Any]:
    """Return all that a request says, with digest and size in the place of each image.

    Parameters
    ----------
    request : ChatRequest
        The request.

    Returns
    -------
    dict
        Plain values that ``json.dumps`` takes, every field of the request in its own key.

    Raises
    ------
    TypeError
        If the schema holds something that is not JSON.
    """
    return {
        "turns": [
            {"role": turn.role, "parts": [_part(part) for part in turn.parts]} for turn in request.turns
        ],
        "max_tokens": int(request.max_tokens),
        "temperature": None if request.temperature is None else float(request.temperature),
        "seed": None if request.seed is None else int(request.seed),
        "choices": None if request.choices is None else list(request.choices),
        "want_choice_probs": bool(request.want_choice_probs),
        "schema": plain_schema(request.schema),
        "sample": int(request.sample),
    }


def request_key(request: ChatRequest, fingerprint: str) -> str:
    """Return the name under which the reply to a request is cached.

    Parameters
    ----------
    request : ChatRequest
        The request. Images count by their pixels and size, however they lie in memory or were compressed; the
        order of a schema's keys counts too, since a model writes its reply in that order.
    fingerprint : str
        The backend's.

    Returns
    -------
    str
        64 hexadecimal digits (SHA-256).
    """
    content = [_KEY_VERSION, fingerprint, request_to_json(request)]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def reply_to_json(reply: ChatReply) -> dict[str, Any]:
    """Return all fields of a reply as plain values, whatever kind of numbers a backend computes with."""
    fields = {name: getattr(reply, name) for name in ("text", "model", "finish", "reply_id", "cached")}
    probs = reply.choice_probs
    return {
        **fields,
        "usage": {name: int(tokens) for name, tokens in asdict(reply.usage).items()},
        "choice_probs": None if probs is None else {choice: float(p) for choice, p in probs.items()},
    }


def reply_from_json(fields: Mapping[str, Any]) -> ChatReply:
    """Return the reply that `reply_to_json` has described."""
    return ChatReply(**{**fields, "usage": Usage(**fields["usage"])})


def _part(part: str | ImagePart) -> str | dict[str, Any]:
    if isinstance(part, str):
        return part
    height, width, _ = part.array.shape
    return {"image": part.sha256, "height": height, "width": width}


def plain_schema(value: object) -> Any:
    """Return a JSON schema, or a part of one, as what ``json.dumps`` takes."""
    if isinstance(value, Mapping):
        return {str(key): plain_schema(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_schema(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(
        f"The 'schema' of a request must hold JSON values only. Got a {type(value).__name__} instead."
    )

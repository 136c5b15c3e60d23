"""What a server is asked and answers, faults included, in the languages of OpenAI and Anthropic."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from lvlm_va.backends.types import Finish

Language = Literal["openai", "anthropic"]
_FINISH: dict[Language, dict[Finish, str]] = {
    "openai": {"stop": "stop", "length": "length", "refusal": "content_filter"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"},
}


@dataclass(frozen=True)
class Asked:
    """One request, as it came to the server.

    Attributes
    ----------
    language : {"openai", "anthropic"}
        Chat completions or messages, by the path.
    body : dict
        The request's JSON.
    headers : mapping of str to str
        Its headers, names in lower case.
    number : int
        How many requests came before it.
    before : int
        How many of them had the same last text.
    """

    language: Language
    body: dict[str, Any]
    headers: Mapping[str, str]
    number: int
    before: int

    @property
    def text(self) -> str:
        """The texts of the last turn, a line each."""
        return "\n".join(part["text"] for part in self._parts if part.get("type") == "text")

    @property
    def images(self) -> tuple[bytes, ...]:
        """The image files of the last turn."""
        images = []
        for part in self._parts:
            if part.get("type") == "image_url":
                images.append(base64.b64decode(part["image_url"]["url"].partition("base64,")[2]))
            elif part.get("type") == "image":
                images.append(base64.b64decode(part["source"]["data"]))
        return tuple(images)

    @property
    def _parts(self) -> list[dict[str, Any]]:
        content = self.body["messages"][-1]["content"]
        return [{"type": "text", "text": content}] if isinstance(content, str) else content


@dataclass(frozen=True)
class Answer:
    """What the server does with a request; by default it sends its last text back.

    Attributes
    ----------
    text : str or None, default=None
        What the model says. None repeats the last text of the request.
    finish : {"stop", "length", "refusal"}, default="stop"
        Why it ends.
    status : int, default=200
        HTTP status. From 400 on, `text` and `code` make an error of the language asked in.
    code : str, default=""
        Code (OpenAI) or type (Anthropic) of the error.
    unsupported : tuple of str, default=()
        Parameters that are refused with status 400 where a request holds one; others are answered.
    body : bytes or None, default=None
        The body as it stands, whatever the rest says.
    headers : mapping of str to str
        Further headers.
    delay : float, default=0.0
        Seconds before the answer.
    pace : float, default=0.0
        Seconds before each further byte of the body, which then comes byte by byte.
    cut_after : int or None, default=None
        Bytes after which the connection is cut, headers included; 0 sends nothing at all.
    """

    text: str | None = None
    finish: Finish = "stop"
    status: int = 200
    code: str = ""
    unsupported: tuple[str, ...] = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    delay: float = 0.0
    pace: float = 0.0
    cut_after: int | None = None

    def to(self, asked: Asked) -> tuple[int, bytes]:
        """Return status and body."""
        if self.body is not None:
            return self.status, self.body
        for name in self.unsupported:
            if name in asked.body:
                instead = ". Use 'max_completion_tokens' instead." if name == "max_tokens" else "."
                message = f"Unsupported parameter: {name!r} is not supported with this model{instead}"
                return 400, _error(asked.language, message, "unsupported_parameter", name)
        text = asked.text if self.text is None else self.text
        if self.status >= 400:
            return self.status, _error(asked.language, text, self.code)
        return self.status, json.dumps(_reply(asked, text, self.finish)).encode()


def _reply(asked: Asked, text: str, finish: Finish) -> dict[str, Any]:
    model, end = asked.body.get("model"), _FINISH[asked.language][finish]
    # About four characters to a token.
    taken, said = 1 + len(asked.text) // 4, 1 + len(text) // 4
    if asked.language == "anthropic":
        return {
            "id": f"msg_{asked.number}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}] if text else [],
            "stop_reason": end,
            "usage": {"input_tokens": taken, "output_tokens": said},
        }
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if finish == "refusal":
        message = {"role": "assistant", "content": None, "refusal": text}
    return {
        "id": f"chatcmpl-{asked.number}",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": end}],
        "usage": {"prompt_tokens": taken, "completion_tokens": said, "total_tokens": taken + said},
    }


def _error(language: Language, message: str, code: str, parameter: str | None = None) -> bytes:
    error: dict[str, Any] = {"type": code or "error", "message": message}
    if language == "anthropic":
        return json.dumps({"type": "error", "error": error}).encode()
    return json.dumps({"error": {**error, "code": code or None, "param": parameter}}).encode()


_TRUNCATED = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Segment 1: spur'
_HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

FAULTS: Mapping[str, Answer] = MappingProxyType(
    {
        "rate limit": Answer("Slow down.", status=429, code="rate_limit_exceeded"),
        "rate limit with Retry-After": Answer(
            "Slow down.", status=429, code="rate_limit_exceeded", headers={"Retry-After": "1"}
        ),
        "quota": Answer("You exceeded your current quota.", status=429, code="insufficient_quota"),
        "authentication": Answer("Incorrect API key.", status=401, code="invalid_api_key"),
        "not found": Answer("The model does not exist.", status=404, code="model_not_found"),
        "server error": Answer("Something broke.", status=500, code="server_error"),
        "slow": Answer(delay=30.0),
        "no answer": Answer(cut_after=0),
        "cut": Answer("This sentence is cut off by the network.", cut_after=200),
        "truncated JSON": Answer(body=_TRUNCATED),
        "empty, tokens ran out": Answer("", finish="length"),
        "refusal": Answer("I cannot help with this.", finish="refusal"),
        "no temperature": Answer(unsupported=("temperature",)),
        "no max_tokens": Answer(unsupported=("max_tokens",)),
        "no response_format": Answer(unsupported=("response_format", "output_config")),
        "not UTF-8": Answer(body='{"choices": "caf\xe9"}'.encode("latin-1")),
        "10 MB": Answer("x" * 10_000_000),
        "HTML page": Answer(status=502, body=_HTML, headers={"Content-Type": "text/html"}),
        "HTML page, status 200": Answer(body=_HTML, headers={"Content-Type": "text/html"}),
    }
)
"""Ready-made faults by name, for the script of a :class:`FaultServer`."""

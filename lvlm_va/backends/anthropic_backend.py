"""Models that speak Anthropic's messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from lvlm_va.backends.http_backend import HTTPBackend
from lvlm_va.backends.png import png_base64
from lvlm_va.backends.request_json import plain_schema
from lvlm_va.backends.server_json import message_of, pick, text_of, usage_of
from lvlm_va.backends.types import Capabilities, ChatReply, ChatRequest, Finish, ImagePart

_FINISH: dict[str, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class AnthropicBackend(HTTPBackend):
    """Ask a model of Anthropic.

    Parameters
    ----------
    model : str
        The model's name.
    base_url, api_key, allow_remote, concurrency, timeout : optional
        As of :class:`OpenAIBackend`. The address is Anthropic's own by default, so that `allow_remote` must be
        True; the environment's variable is ``ANTHROPIC_API_KEY``. Profiles and tokens on disk are not used.
    capabilities : Capabilities or None, default=None
        What the model can do. None: any number of images, and schema. Newer models take no ``temperature``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range, or if data would leave this machine and `allow_remote` is
        False: then nothing is opened or looked up.
    ImportError
        If the package ``anthropic`` is not installed.
    """

    _sdk_name = "anthropic"
    _client_name = "Anthropic"
    _default_url = "https://api.anthropic.com"
    _key_variable = "ANTHROPIC_API_KEY"
    _optional: ClassVar[Mapping[str, str]] = {"temperature": "temperature", "output_config": "schema"}
    _default_capabilities = Capabilities(schema=True)

    def _create(self, client: Any) -> Callable[..., AbstractContextManager[Any]]:
        create: Callable[..., AbstractContextManager[Any]] = client.messages.with_streaming_response.create
        return create

    def _conversation(self, request: ChatRequest) -> dict[str, Any]:
        turns = [
            {"role": turn.role, "content": [_part(part) for part in turn.parts]} for turn in request.turns
        ]
        system = [part for turn in turns if turn["role"] == "system" for part in turn["content"]]
        conversation: dict[str, Any] = {
            "messages": [turn for turn in turns if turn["role"] != "system"],
            "max_tokens": int(request.max_tokens),
        }
        return {**conversation, "system": system} if system else conversation

    def _options(self, request: ChatRequest) -> dict[str, Any]:
        schema = None
        if request.schema is not None:
            schema = {"format": {"type": "json_schema", "schema": plain_schema(request.schema)}}
        temperature = None if request.temperature is None else float(request.temperature)
        return {"temperature": temperature, "output_config": schema}

    def _read(self, content: dict[str, Any]) -> ChatReply:
        return ChatReply(
            message_of(pick(content, "content")),
            text_of(content.get("model")) or self.model,
            _FINISH.get(text_of(content.get("stop_reason")), "stop"),
            usage_of(content, _INPUTS, ("output_tokens",)),
            reply_id=text_of(content.get("id")),
        )


def _part(part: str | ImagePart) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": text_of(part)}
    source = {"type": "base64", "media_type": "image/png", "data": png_base64(part)}
    return {"type": "image", "source": source}

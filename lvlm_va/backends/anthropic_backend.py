"""Models that speak Anthropic's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from datetime import datetime
from typing import Any, ClassVar

from lvlm_va.backends.http_batches import HTTPBatchBackend, lines_of, pages
from lvlm_va.backends.http_errors import GarbledReplyError
from lvlm_va.backends.png import png_base64
from lvlm_va.backends.request_json import plain_schema
from lvlm_va.backends.server_json import finish_of, message_of, pick, text_of, usage_of
from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.thoughts import without_leading_thoughts
from lvlm_va.backends.types import Capabilities, ChatFailure, ChatReply, ChatRequest, ImagePart

# Status that a request by itself would have got.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
}
_STREAMED = {"X-Stainless-Raw-Response": "stream"}
_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class AnthropicBackend(HTTPBatchBackend):
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
    # The provider's limits are 100,000 requests and 256 MB.
    _most_requests = 100_000
    _most_bytes = 240_000_000

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
            without_leading_thoughts(message_of(pick(content, "content"))),
            text_of(content.get("model")) or self.model,
            finish_of(content.get("stop_reason")),
            usage_of(content, _INPUTS, ("output_tokens",)),
            reply_id=text_of(content.get("id")),
        )

    def _entry(self, key: str, request: ChatRequest) -> dict[str, Any]:
        return {"custom_id": key, "params": self._arguments(request)}

    def _send(self, client: Any, entries: list[dict[str, Any]], label: str) -> str:
        # There is no place for the label.
        create = client.messages.batches.with_streaming_response.create
        return text_of(pick(self._upload(create, requests=entries), "id"))

    def _list(self, client: Any, label: str, count: int, since: float) -> list[str]:
        def call(**arguments: Any) -> dict[str, Any]:
            return self._call_object(client.messages.batches.with_streaming_response.list, **arguments)

        found = []
        for batch in pages(call, "after_id"):
            if _seconds(pick(batch, "created_at")) < since:
                break
            if sum(pick(batch, "request_counts").values()) == count:
                found.append(text_of(pick(batch, "id")))
        return found

    def _results(self, client: Any, batch_id: str) -> Iterator[dict[str, Any]] | ChatFailure | None:
        batches = client.messages.batches.with_streaming_response
        if self._call_object(batches.retrieve, message_batch_id=batch_id).get("processing_status") != "ended":
            return None
        # Fetched by their path: an address that a server names might be anyone's.
        path, options = f"/v1/messages/batches/{batch_id}/results", {"headers": _STREAMED}
        return lines_of(self._download(lambda: closing(client.get(path, cast_to=object, options=options))))

    def _outcome(self, entry: dict[str, Any]) -> Outcome:
        result = entry.get("result")
        kind = text_of(pick(result, "type")) if isinstance(result, dict) else ""
        if kind == "succeeded":
            return self._reply_in(pick(result, "message"))
        if kind == "errored":
            error = pick(result, "error")
            inner = error.get("error", error) if isinstance(error, dict) else {}
            return self._failure_in(_STATUS.get(text_of(inner.get("type")), 500), error)
        return ChatFailure("server", f"The batch did not answer this request ({kind or 'no reason given'}).")


def _seconds(when: object) -> float:
    try:
        return datetime.fromisoformat(text_of(when)).timestamp()
    except (ValueError, OverflowError):
        raise GarbledReplyError(f"The server's reply holds no time: {when}") from None


def _part(part: str | ImagePart) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": text_of(part)}
    source = {"type": "base64", "media_type": "image/png", "data": png_base64(part)}
    return {"type": "image", "source": source}

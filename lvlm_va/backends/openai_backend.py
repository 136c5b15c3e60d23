"""Models that speak OpenAI's chat completions: hosted ones, and most servers that run on one's own machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from lvlm_va.backends.http_batches import HTTPBatchBackend, lines_of, pages
from lvlm_va.backends.http_errors import GarbledReplyError
from lvlm_va.backends.png import png_base64
from lvlm_va.backends.request_json import plain_schema
from lvlm_va.backends.server_json import finish_of, message_of, pick, text_of, usage_of
from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.thoughts import without_leading_thoughts
from lvlm_va.backends.types import (
    Capabilities,
    ChatFailure,
    ChatReply,
    ChatRequest,
    FailureKind,
    ImagePart,
)

_ENDPOINT = "/v1/chat/completions"
_ENDED = ("completed", "expired", "cancelled")
# The key of a batch's metadata that holds our label.
_LABEL = "lvlm_va"


class OpenAIBackend(HTTPBatchBackend):
    """Ask a server of OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp, ``transformers serve``.

    Sent are the model's name, the conversation with its images as PNG and the token limit; temperature, seed
    and schema where they are asked for and declared. A parameter that the server names as unsupported is left
    out from then on, and is no capability any more.

    Parameters
    ----------
    model : str
        The model's name on the server.
    base_url : str or None, default=None
        Address of the server, such as ``"http://127.0.0.1:8000/v1"``. None is OpenAI's own; no variable of the
        environment changes it.
    api_key : str or None, default=None
        The key. None takes ``OPENAI_API_KEY`` from the environment for OpenAI's own address, and no key for any
        other. It is kept out of ``repr``, logs, messages and pickles.
    allow_remote : bool, default=False
        Whether images and texts may go to another machine. Models whose names end in ``-cloud`` or ``:cloud``
        are on another machine (Ollama's), wherever the server is.
    concurrency : int, default=8
        Most requests of one call under way at once.
    timeout : float, default=120.0
        Seconds after which a request is given up.
    capabilities : Capabilities or None, default=None
        What the model can do, see :class:`Capabilities`. None: any number of images, temperature, seed and
        schema. ``choices`` is sent as vLLM takes it. ``local`` and ``batch_size`` follow from the other
        arguments; ``choice_probs`` and ``batched`` are always False.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range, or if data would leave this machine and `allow_remote` is
        False: then nothing is opened or looked up.
    ImportError
        If the package ``openai`` is not installed.

    Notes
    -----
    There are no retries here: :func:`~lvlm_va.backends.wrap_backend` adds them, with a cache and a budget.
    A redirection is not followed, and a server on this machine is never asked through a proxy. A pickled
    backend leaves a key that was given behind; one that comes from the environment is read there anew.

    OpenAI's own server also takes batches, see :class:`~lvlm_va.backends.BatchedBackend`; most others do not.

    Nobody can tell whether a server has changed the model behind a name: with new weights, use a new cache.

    Examples
    --------
    >>> from lvlm_va.backends import OpenAIBackend
    >>> OpenAIBackend("my-model", base_url="http://127.0.0.1:8000/v1").capabilities.local
    True
    """

    _sdk_name = "openai"
    _client_name = "OpenAI"
    _default_url = "https://api.openai.com/v1"
    _key_variable = "OPENAI_API_KEY"
    _optional: ClassVar[Mapping[str, str]] = {
        "temperature": "temperature",
        "seed": "seed",
        "response_format": "schema",
        "structured_outputs": "choices",
    }
    # Older servers know only the first name, OpenAI's newer models only the second.
    _renamed: ClassVar[Mapping[str, str]] = {"max_tokens": "max_completion_tokens"}
    _default_capabilities = Capabilities(temperature=True, seed=True, schema=True)
    # The provider's limits are 50,000 requests and 200 MB.
    _most_requests = 50_000
    _most_bytes = 190_000_000

    def _create(self, client: Any) -> Callable[..., AbstractContextManager[Any]]:
        create: Callable[..., AbstractContextManager[Any]] = (
            client.chat.completions.with_streaming_response.create
        )
        return create

    def _conversation(self, request: ChatRequest) -> dict[str, Any]:
        return {"messages": [{"role": turn.role, "content": _content(turn.parts)} for turn in request.turns]}

    def _options(self, request: ChatRequest) -> dict[str, Any]:
        schema = None
        if request.schema is not None:
            body = {"name": "reply", "strict": True, "schema": plain_schema(request.schema)}
            schema = {"type": "json_schema", "json_schema": body}
        return {
            "max_tokens": int(request.max_tokens),
            "temperature": None if request.temperature is None else float(request.temperature),
            "seed": None if request.seed is None else int(request.seed),
            "response_format": schema,
            "structured_outputs": None if request.choices is None else {"choice": list(request.choices)},
        }

    def _read(self, content: dict[str, Any]) -> ChatReply:
        choice = pick(content, "choices", 0)
        message = pick(choice, "message")
        if not isinstance(message, dict):
            raise GarbledReplyError("The server's reply holds a message that is no object.")
        refusal = text_of(message.get("refusal"))
        # Where all tokens went on reasoning, some servers leave the content out.
        text = refusal or without_leading_thoughts(message_of(message.get("content")))
        finish = "refusal" if refusal else finish_of(choice.get("finish_reason"))
        return ChatReply(
            text,
            text_of(content.get("model")) or self.model,
            finish,
            usage_of(content, ("prompt_tokens",), ("completion_tokens",)),
            reply_id=text_of(content.get("id")),
        )

    def _entry(self, key: str, request: ChatRequest) -> dict[str, Any]:
        body = self._arguments(request)
        if self._is_default and "max_tokens" in body:
            # OpenAI's own models all know the newer name; a refusal would cost the time of a whole batch.
            body["max_completion_tokens"] = body.pop("max_tokens")
        return {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": body}

    def _send(self, client: Any, entries: list[dict[str, Any]], label: str) -> str:
        lines = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        upload = client.files.with_streaming_response.create
        file = self._upload(upload, file=(f"{label}.jsonl", lines), purpose="batch")
        batch = self._call_object(
            client.batches.with_streaming_response.create,
            input_file_id=text_of(pick(file, "id")),
            endpoint=_ENDPOINT,
            completion_window="24h",
            metadata={_LABEL: label},
        )
        return text_of(pick(batch, "id"))

    def _list(self, client: Any, label: str, count: int, since: float) -> list[str]:
        def call(**arguments: Any) -> dict[str, Any]:
            return self._call_object(client.batches.with_streaming_response.list, **arguments)

        for batch in pages(call, "after"):
            if (batch.get("metadata") or {}).get(_LABEL) == label:
                return [text_of(pick(batch, "id"))]
            if pick(batch, "created_at") < since:
                break
        return []

    def _results(self, client: Any, batch_id: str) -> Iterator[dict[str, Any]] | ChatFailure | None:
        batch = self._call_object(client.batches.with_streaming_response.retrieve, batch_id=batch_id)
        if batch.get("status") == "failed":
            return _why_failed(batch)
        if batch.get("status") not in _ENDED:
            return None
        fetch = client.files.with_streaming_response.content
        names = [batch.get(name) for name in ("output_file_id", "error_file_id")]
        bodies = [self._download(fetch, file_id=name) for name in names if name]
        return (entry for body in bodies for entry in lines_of(body))

    def _outcome(self, entry: dict[str, Any]) -> Outcome:
        response, error = entry.get("response"), entry.get("error")
        if isinstance(response, dict):
            status = response.get("status_code")
            if isinstance(status, int) and status >= 400:
                return self._failure_in(status, response.get("body"))
            return self._reply_in(pick(response, "body"))
        code = text_of(error.get("code")) if isinstance(error, dict) else ""
        return ChatFailure("server", f"The batch did not answer this request ({code or 'no reason given'}).")


def _why_failed(batch: dict[str, Any]) -> ChatFailure:
    errors: Any = batch.get("errors")
    errors = errors.get("data", errors) if isinstance(errors, dict) else errors
    first = errors[0] if isinstance(errors, list) and errors else errors
    said = first if isinstance(first, dict) else {"message": first}
    code, message = (text_of(said.get(name)) for name in ("code", "message"))
    kind: FailureKind = "bad_request"
    if "token_limit" in code or "rate_limit" in code:
        kind = "rate_limit"
    elif "billing" in code or "quota" in code:
        kind = "quota"
    return ChatFailure(kind, f"The batch was not accepted: {message or code or 'no reason given'}")


def _content(parts: tuple[str | ImagePart, ...]) -> Any:
    # Some servers take a plain text, but no list, for a turn without images.
    if all(isinstance(part, str) for part in parts):
        return "\n".join(text_of(part) for part in parts)
    return [_part(part) for part in parts]


def _part(part: str | ImagePart) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": text_of(part)}
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png_base64(part)}"}}

"""What all backends share that ask a server through its provider's SDK."""

from __future__ import annotations

import importlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any, ClassVar

from lvlm_va.backends.http_client import exchange, http_client
from lvlm_va.backends.http_errors import GarbledReplyError, error_within, shown
from lvlm_va.backends.privacy import check_endpoint
from lvlm_va.backends.secret import Secret
from lvlm_va.backends.server_json import parse_object
from lvlm_va.backends.streaming import Outcome, in_order
from lvlm_va.backends.threads import ask_in_threads
from lvlm_va.backends.types import Capabilities, ChatFailure, ChatReply, ChatRequest
from lvlm_va.common.validation import check_real, is_integer

# In the place of a temperature of 0 where a server takes none: the likeliest tokens all the same.
_LITTLE = 0.01
_LOG = logging.getLogger(__name__)


class HTTPBackend(ABC):
    """A model behind an HTTP server; its subclasses say in which language it is asked."""

    _sdk_name: ClassVar[str]
    _client_name: ClassVar[str]
    _default_url: ClassVar[str]
    _key_variable: ClassVar[str]
    # Parameter of the API -> the capability that it stands for.
    _optional: ClassVar[Mapping[str, str]]
    # Parameter -> the one that takes its place where a server refuses it.
    _renamed: ClassVar[Mapping[str, str]] = {}
    _default_capabilities: ClassVar[Capabilities]

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        allow_remote: bool = False,
        concurrency: int = 8,
        timeout: float = 120.0,
        capabilities: Capabilities | None = None,
    ) -> None:
        self._endpoint = check_endpoint(
            self._default_url if base_url is None else base_url, model, allow_remote
        )
        if not is_integer(concurrency, 1):
            raise ValueError(
                f"The 'concurrency' argument must be an integer, at least 1. Got {concurrency!r} instead."
            )
        check_real("timeout", timeout, "(0, inf)", expected="a number of seconds above 0")
        if capabilities is not None and not isinstance(capabilities, Capabilities):
            raise TypeError(
                "The 'capabilities' argument must be a Capabilities object or None. Got "
                f"{type(capabilities).__name__} instead."
            )
        self._model = model
        self.concurrency = concurrency
        self.timeout = timeout
        self._is_default = base_url is None
        self._secret = Secret(api_key, self._key_variable if base_url is None else None)
        self._declared = replace(
            capabilities or self._default_capabilities,
            local=self._endpoint.local,
            choice_probs=False,
            batched=False,
            batch_size=concurrency,
        )
        self._refused: frozenset[str] = frozenset()
        self._zero_temperature = 0.0
        self._sdk()

    @property
    def model(self) -> str:
        """Name of the model on the server."""
        return self._model

    @property
    def base_url(self) -> str:
        """Address of the server."""
        return self._endpoint.url

    @property
    def name(self) -> str:
        """Address and model."""
        prefix = f"{self._sdk_name}:" if self._is_default else f"{self.base_url}#"
        return prefix + self.model

    @property
    def capabilities(self) -> Capabilities:
        """What was declared, less what the server has refused so far."""
        lost = {self._optional[name]: False for name in self._refused if name in self._optional}
        return replace(self._declared, **lost)

    def fingerprint(self) -> str:
        """Return address, model and declared capabilities."""
        return json.dumps(
            [self._sdk_name, self.base_url, self.model, asdict(replace(self._declared, batch_size=1))]
        )

    def complete(self, requests: Sequence[ChatRequest]) -> list[Outcome]:
        """Return a reply or a failure for each request, in order."""
        return in_order(len(requests), self.complete_each(requests))

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield each request's position and what came of it, as it comes; leave out what was not sent."""
        if not requests:
            return
        client = self._open_client()
        if isinstance(client, ChatFailure):
            yield 0, client
            return
        yield from ask_in_threads(
            lambda request: self._redacted(self._ask(client, request)),
            requests,
            self.concurrency,
            client.close,
        )

    def _open_client(self) -> Any:
        """Return a client, or the failure for want of a key."""
        if self._secret.lost:
            return ChatFailure(
                "auth", "The key was left behind when this backend was pickled. Build the backend anew here."
            )
        # For one call only: nothing that holds a socket or a key stays in this object.
        return getattr(self._sdk(), self._client_name)(
            api_key=self._secret.reveal() or "none",
            base_url=self.base_url,
            max_retries=0,
            http_client=http_client(
                self._sdk(), self._endpoint, self.timeout, foreign_headers=self._is_default
            ),
        )

    def _ask(self, client: Any, request: ChatRequest) -> Outcome:
        refusal = self._declared.refusal(request)
        if refusal is not None:
            return refusal
        conversation = self._conversation(request)
        while True:
            options = self._sendable(self._options(request))
            arguments = {"model": self.model, **conversation, "extra_body": options}
            came = exchange(self._sdk(), self._create(client), arguments, self.timeout)
            if isinstance(came, ChatFailure):
                return came
            if isinstance(came, bytes):
                return self._reply(came)
            if came.wants_positive_temperature and options.get("temperature") == 0:
                self._raise_temperature()
                continue
            name = came.refused_parameter(options)
            if name is None or (name not in self._optional and name not in self._renamed):
                return came.failure
            self._leave_out(name)

    def _leave_out(self, name: str) -> None:
        if name not in self._refused:
            self._refused |= {name}
            _LOG.warning("%s does not take %r; it is left out from now on.", self.name, name)

    def _raise_temperature(self) -> None:
        if not self._zero_temperature:
            self._zero_temperature = _LITTLE
            _LOG.warning("%s takes no temperature of 0; %g is sent instead from now on.", self.name, _LITTLE)

    def _sendable(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that have a value and an effect, under the names that the server takes."""
        refused = self._refused
        sendable = {}
        for name, value in options.items():
            able = name not in self._optional or getattr(self._declared, self._optional[name])
            taken = self._renamed.get(name) if name in refused else name
            if able and taken is not None and value is not None:
                sendable[taken] = value
        if sendable.get("temperature") == 0:
            sendable["temperature"] = self._zero_temperature
        return sendable

    def _reply(self, body: bytes) -> Outcome:
        try:
            return self._reply_in(parse_object(body))
        except GarbledReplyError as error:
            return ChatFailure("malformed", str(error))

    def _reply_in(self, content: dict[str, Any]) -> Outcome:
        try:
            return error_within(content) or self._read(content)
        except GarbledReplyError as error:
            return ChatFailure("malformed", str(error))

    def _redacted(self, outcome: Outcome) -> Outcome:
        redact = self._secret.redact
        if isinstance(outcome, ChatFailure):
            # Cut only now: a part of the key would not be found.
            return replace(outcome, message=shown(redact(outcome.message)))
        return replace(
            outcome,
            text=redact(outcome.text),
            model=redact(outcome.model),
            reply_id=redact(outcome.reply_id),
        )

    def _sdk(self) -> Any:
        try:
            return importlib.import_module(self._sdk_name)
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} needs the package {self._sdk_name!r}: pip install "
                f"'lvlm-va[{self._sdk_name}]'"
            ) from error

    @abstractmethod
    def _create(self, client: Any) -> Callable[..., AbstractContextManager[Any]]:
        """Return the client's method that sends a conversation."""

    @abstractmethod
    def _conversation(self, request: ChatRequest) -> dict[str, Any]:
        """Return what every server of the kind takes."""

    @abstractmethod
    def _options(self, request: ChatRequest) -> dict[str, Any]:
        """Return what a server may refuse, None where the request does not ask for it."""

    @abstractmethod
    def _read(self, content: dict[str, Any]) -> ChatReply:
        """Return the reply that a JSON object holds, or raise GarbledReplyError."""

    def __repr__(self) -> str:
        remote = "" if self._endpoint.local else ", allow_remote=True"
        return f"{type(self).__name__}({self.model!r}, base_url={self.base_url!r}{remote})"

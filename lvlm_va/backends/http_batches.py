"""What backends share that hand batches to a server through its provider's SDK."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from lvlm_va.backends.http_backend import HTTPBackend
from lvlm_va.backends.http_client import MOST_BYTES, exchange
from lvlm_va.backends.http_errors import ErrorReply, GarbledReplyError, read_error_reply, shown
from lvlm_va.backends.server_json import parse_object, pick
from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.types import BatchTicket, ChatFailure, ChatRequest

_T = TypeVar("_T")
# For a file on its way; all else is held to the backend's own timeout, and to the length of any reply.
_TRANSFER_SECONDS = 3600.0
_MOST_BYTES = 2**30
# Of a hundred batches each; nobody has more under way.
_MOST_PAGES = 100
# Raised where a value of the server's is of another kind than its documentation says.
_NOT_AS_AGREED = (GarbledReplyError, AttributeError, LookupError, TypeError, OverflowError)
# How far the provider's clock may be behind ours.
_CLOCKS = 300.0


class CallError(Exception):
    """One of the calls that a batch takes has failed."""

    def __init__(self, failure: ChatFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class HTTPBatchBackend(HTTPBackend):
    """A model behind an HTTP server that also takes batches."""

    _most_requests: ClassVar[int]
    _most_bytes: ClassVar[int]

    def n_fitting(self, requests: Sequence[ChatRequest]) -> int:
        """Return how many of the requests, from the first on, one batch can hold by number and bytes."""
        size = 0
        for count, request in enumerate(requests[: self._most_requests]):
            size += len(json.dumps(self._entry("0" * 64, request))) + 1
            if count and size > self._most_bytes:
                return count
        return min(len(requests), self._most_requests)

    def submit(self, requests: Mapping[str, ChatRequest], label: str) -> BatchTicket | ChatFailure:
        """Hand over the requests by their custom ids, as one batch."""
        entries = [self._entry(key, request) for key, request in requests.items()]
        batch_id = self._with_client(lambda client: self._send(client, entries, label))
        if isinstance(batch_id, ChatFailure):
            return batch_id
        if not batch_id:
            return ChatFailure("malformed", "The server's reply holds no name of the batch.")
        return BatchTicket(batch_id, tuple(requests))

    def find(self, label: str, count: int, since: float) -> list[str] | ChatFailure:
        """Return the ids of batches that may be the one of this label, oldest first."""
        return self._with_client(lambda client: self._list(client, label, count, since - _CLOCKS)[::-1])

    def collect(self, ticket: BatchTicket) -> dict[str, Outcome] | ChatFailure | None:
        """Return what came of every key; None while the batch is not finished, a failure where asking failed."""

        def fetch(client: Any) -> dict[str, Outcome] | None:
            results = self._results(client, ticket.batch_id)
            if results is None:
                return None
            if isinstance(results, ChatFailure):
                return dict.fromkeys(ticket.keys, self._redacted(results))
            lost = ChatFailure("malformed", "The batch's results hold no readable line for this request.")
            outcomes: dict[str, Outcome] = dict.fromkeys(ticket.keys, lost)
            for entry in results:
                key = entry.get("custom_id")
                if isinstance(key, str) and key in outcomes:
                    outcomes[key] = self._redacted(self._outcome_or_garbled(entry))
            return outcomes

        return self._with_client(fetch)

    def _with_client(self, use: Callable[[Any], _T]) -> _T | ChatFailure:
        client = self._open_client()
        if isinstance(client, ChatFailure):
            return client
        try:
            return use(client)
        except CallError as error:
            failure = self._redacted(error.failure)
            assert isinstance(failure, ChatFailure)
            return failure
        except _NOT_AS_AGREED as error:
            return self._garbled(error)
        finally:
            client.close()

    def _garbled(self, error: Exception) -> ChatFailure:
        message = f"The server's reply is not as agreed: {error}"
        return ChatFailure("malformed", shown(self._secret.redact(message)))

    def _outcome_or_garbled(self, entry: dict[str, Any]) -> Outcome:
        try:
            return self._outcome(entry)
        except _NOT_AS_AGREED as error:
            return self._garbled(error)

    def _download(self, create: Callable[..., Any], **arguments: Any) -> bytes:
        """Return the file that a call of the SDK fetches, or raise CallError."""
        return self._exchanged(create, arguments, _TRANSFER_SECONDS, _MOST_BYTES)

    def _upload(self, create: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        """Return the object in the reply to a call that hands over much, or raise CallError."""
        return parse_object(self._exchanged(create, arguments, _TRANSFER_SECONDS, MOST_BYTES))

    def _call_object(self, create: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        """Return the object in the reply to any other call, or raise CallError."""
        return parse_object(self._exchanged(create, arguments, self.timeout, MOST_BYTES))

    def _exchanged(
        self, create: Callable[..., Any], arguments: dict[str, Any], seconds: float, most_bytes: int
    ) -> bytes:
        came = exchange(self._sdk(), create, arguments, seconds, most_bytes)
        if isinstance(came, bytes):
            return came
        raise CallError(came.failure if isinstance(came, ErrorReply) else came)

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        """Return what one request of a batch says."""
        options = self._sendable(self._options(request))
        return {"model": self.model, **self._conversation(request), **options}

    def _failure_in(self, status: int, content: object) -> ChatFailure:
        """Return the failure of one request; where a parameter is refused, it is left out when asked again."""
        error = read_error_reply(status, {}, json.dumps(content))
        if error.wants_positive_temperature:
            self._raise_temperature()
            return ChatFailure("server", error.failure.message)
        name = error.refused_parameter({*self._optional, *self._renamed})
        if name is None:
            return error.failure
        self._leave_out(name)
        return ChatFailure("server", error.failure.message)

    @abstractmethod
    def _entry(self, key: str, request: ChatRequest) -> dict[str, Any]:
        """Return a request as the batch holds it."""

    @abstractmethod
    def _send(self, client: Any, entries: list[dict[str, Any]], label: str) -> str:
        """Return the id of the batch that was made of these entries."""

    @abstractmethod
    def _list(self, client: Any, label: str, count: int, since: float) -> list[str]:
        """Return the ids of batches that may be the one of this label, newest first."""

    @abstractmethod
    def _results(self, client: Any, batch_id: str) -> Iterator[dict[str, Any]] | ChatFailure | None:
        """Return the lines of results, why the whole batch failed, or None while it is not finished."""

    @abstractmethod
    def _outcome(self, entry: dict[str, Any]) -> Outcome:
        """Return what a line of results says."""


def lines_of(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in lines of text, without those that cannot be read."""
    for line in body.splitlines():
        try:
            yield parse_object(line)
        except GarbledReplyError:
            continue


def pages(call: Callable[..., dict[str, Any]], cursor: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a list that comes in pages, each begun after the last item of the one before.

    Raises
    ------
    GarbledReplyError
        If the list has no end.
    """
    arguments: dict[str, Any] = {"limit": 100}
    for _ in range(_MOST_PAGES):
        page = call(**arguments)
        items = pick(page, "data")
        yield from items
        if not items or not page.get("has_more"):
            return
        arguments[cursor] = pick(items, -1, "id")
    raise GarbledReplyError(f"The server's list of batches has no end: {_MOST_PAGES} pages were read.")

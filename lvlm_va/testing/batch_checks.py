"""What a backend that takes batches promises, tried out."""

from __future__ import annotations

import time
import uuid

from lvlm_va.backends.request_json import request_key
from lvlm_va.backends.types import BatchChatBackend, BatchTicket, ChatFailure, ChatReply
from lvlm_va.testing.backend_requests import plain_requests

_COUNT = 3


def check_batches(backend: BatchChatBackend, *, poll: float = 60.0) -> BatchChatBackend:
    """Raise unless a backend keeps what :class:`~lvlm_va.backends.BatchChatBackend` promises.

    Three short requests are handed over as one batch, and fetched twice. `check_backend` leaves batches out, since a
    provider may take hours to answer them.

    Parameters
    ----------
    backend : BatchChatBackend
        The backend.
    poll : float, default=60.0
        Seconds between two looks at the batch.

    Returns
    -------
    BatchChatBackend
        The backend that was checked.

    Raises
    ------
    AssertionError
        At the first promise that is broken; the message says which, and what came.
    """
    _require(
        isinstance(backend, BatchChatBackend),
        f"A backend that takes batches must have 'n_fitting', 'submit', 'find' and 'collect'. Got {backend!r}.",
    )
    chats = plain_requests(_COUNT)
    fitting = backend.n_fitting(chats)
    _require(
        isinstance(fitting, int) and 1 <= fitting <= _COUNT,
        f"'n_fitting' must return a number from 1 to {_COUNT}. Got {fitting!r}.",
    )
    requests = {request_key(chat, backend.fingerprint()): chat for chat in chats[:fitting]}
    label, since = uuid.uuid4().hex, time.time()
    ticket = backend.submit(requests, label)
    if not isinstance(ticket, BatchTicket):
        raise AssertionError(f"'submit' must return a BatchTicket. Got {ticket!r}.")
    _require(
        set(ticket.keys) == set(requests),
        f"The ticket of 'submit' must hold the keys {sorted(requests)}. Got {sorted(ticket.keys)}.",
    )
    found = backend.find(label, len(requests), since)
    _require(
        isinstance(found, list) and ticket.batch_id in found,
        f"'find' must return a list with the batch's id {ticket.batch_id!r}. Got {found!r}.",
    )
    for _ in range(2):
        while (came := backend.collect(ticket)) is None:
            time.sleep(poll)
        _require(
            isinstance(came, dict) and came.keys() == requests.keys(),
            f"'collect' must return an outcome for each of the ticket's keys. Got {came!r}.",
        )
        for outcome in came.values() if isinstance(came, dict) else ():
            _require(
                isinstance(outcome, ChatReply | ChatFailure),
                f"An outcome must be a ChatReply or a ChatFailure. Got {outcome!r}.",
            )
    return backend


def _require(right: bool, message: str) -> None:
    if not right:
        raise AssertionError(message)

"""Ask no question twice, and lose no reply."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lvlm_va.backends.reply_store import CacheInfo, ReplyStore
from lvlm_va.backends.request_json import request_key
from lvlm_va.backends.streaming import Outcome, complete_each
from lvlm_va.backends.types import ChatBackend, ChatFailure, ChatReply, ChatRequest
from lvlm_va.backends.wrapper import BackendWrapper


class CachedBackend(BackendWrapper):
    """Keep every reply in a file, and answer from there what was asked before.

    Each reply is written as it arrives, so that a run that is killed and begun again asks only for what had
    not arrived. A reply is found again by the backend's fingerprint and everything in the request: the texts,
    the pixels of the images, the sampling parameters and the number of the vote.

    Parameters
    ----------
    backend : ChatBackend
        The backend inside; asked for what the file does not hold.
    path : str or path-like
        A sqlite file, made where there is none. Any number of threads and processes may share it. To hand
        the replies on with an experiment, copy the file while nobody is using it.

    Raises
    ------
    TypeError
        If `backend` is not a backend.
    ValueError
        If the file is damaged or something else; also from ``complete``.
    OSError
        If the file cannot be opened or written; also from ``complete``.

    Notes
    -----
    Failures are not kept, nor are replies that ran out of tokens: both are worth asking again. Requests
    that are equal within one call are asked once. What another thread or process is asking just now is waited
    for, and asked only if no reply came of it. The file holds what the model said, not what it was asked.
    """

    def __init__(self, backend: ChatBackend, path: str | os.PathLike[str]) -> None:
        super().__init__(backend)
        self._store = ReplyStore(Path(path).expanduser().absolute())

    def __contains__(self, request: ChatRequest) -> bool:
        """Whether the reply to a request is in the file, so that asking for it costs nothing."""
        with self._store.open() as replies:
            return replies.get(request_key(request, self.fingerprint())) is not None

    def info(self) -> CacheInfo:
        """Return how much the file holds."""
        return self._store.info()

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield what the file holds, then the other replies as they come, each written first.

        What others are asking just now comes last: whoever waits holds nothing that anybody waits for.

        Parameters
        ----------
        requests : sequence of ChatRequest
            What is asked.

        Yields
        ------
        (int, ChatReply or ChatFailure)
            Position of a request, and what came of it.
        """
        fingerprint = self.fingerprint()
        positions: dict[str, list[int]] = {}
        for position, request in enumerate(requests):
            positions.setdefault(request_key(request, fingerprint), []).append(position)
        pending = list(positions)
        with self._store.open() as replies, replies.locks() as locks:
            while pending:
                mine, others = [], []
                for key in pending:
                    reply = replies.get(key)
                    if reply is None:
                        if not locks.acquire(key):
                            others.append(key)
                            continue
                        reply = replies.get(key)  # it may have come in between
                        if reply is None:
                            mine.append(key)
                            continue
                        locks.release(key)
                    for position in positions[key]:
                        yield position, replace(reply, cached=True)
                stopped = False
                for index, outcome in complete_each(self.backend, [requests[positions[k][0]] for k in mine]):
                    key = mine[index]
                    if isinstance(outcome, ChatReply) and not outcome.broke_off:
                        replies.put(key, outcome)
                    locks.release(key)
                    stopped |= isinstance(outcome, ChatFailure) and outcome.stops
                    first, *same = positions[key]
                    yield first, outcome
                    again = replace(outcome, cached=True) if isinstance(outcome, ChatReply) else outcome
                    for position in same:
                        yield position, again
                if stopped:
                    return
                if others and not mine:
                    locks.wait(others[0])
                pending = others

    def __repr__(self) -> str:
        return f"CachedBackend({self.backend!r}, {str(self._store.path)!r})"

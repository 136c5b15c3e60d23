"""Ask by batches, at a lower price, and lose none of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lvlm_va.backends.batch_tickets import KeptBatch, TicketFolder
from lvlm_va.backends.request_json import request_key
from lvlm_va.backends.streaming import Outcome, at_all_positions
from lvlm_va.backends.types import (
    BatchChatBackend,
    BatchTicket,
    Capabilities,
    ChatBackend,
    ChatFailure,
    ChatRequest,
)
from lvlm_va.backends.wrapper import BackendWrapper
from lvlm_va.common.validation import check_real

_LOG = logging.getLogger(__name__)
# Failures after which the provider may have the batch all the same.
_UNKNOWN = ("timeout", "connection", "malformed", "server")
# Failed calls in a row after which a batch is given up for this time, and the longest wait between them.
_MOST_FAILED, _LONGEST_WAIT = 5, 3600.0


class BatchedBackend(BackendWrapper):
    """Answer through the provider's batch interface: within a day, at half the price.

    All requests of a call that no earlier batch holds are handed over in as few batches as the provider's limits
    allow. Each batch is written to a file before it is handed over, and again with the provider's name for it. So a
    process that was killed at any moment, and is begun again, fetches what it had handed over.

    Parameters
    ----------
    backend : BatchChatBackend
        The model.
    folder : str or path-like
        Where batches under way are kept.
    wait : bool, default=True
        Whether to wait for batches. Otherwise requests whose batch is not finished fail with the kind ``"pending"``.
    poll : float, default=60.0
        Seconds between two looks at unfinished batches, not negative; after failed calls it is doubled each time.
    sleep : callable, default=time.sleep
        Waits for the seconds it is given.

    Raises
    ------
    TypeError
        If `backend` takes no batches.
    ValueError
        If `poll` is negative, or a file of the folder is damaged (also from ``complete``).

    Notes
    -----
    The custom id of a request is the key under which :class:`CachedBackend` keeps its reply. Entries that failed or
    expired are forgotten here, so that :class:`RetryingBackend` around this wrapper hands them over again.

    If a process is killed, or loses the connection, while it hands over a batch, the batch is looked for at the
    provider: OpenAI's keep our label; of Anthropic's the one with as many requests, made since, is taken, and its
    custom ids decide. Of several threads and processes that ask for the same, the first hands it over, and all fetch
    it.
    """

    backend: BatchChatBackend

    def __init__(
        self,
        backend: ChatBackend,
        folder: str | os.PathLike[str],
        *,
        wait: bool = True,
        poll: float = 60.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(backend)
        if not isinstance(backend, BatchChatBackend):
            raise TypeError(
                "The 'backend' argument must take batches, with 'n_fitting', 'submit', 'find' and 'collect', as "
                f"OpenAIBackend and AnthropicBackend do. Got {type(backend).__name__} instead."
            )
        check_real("poll", poll, "[0, inf]", expected="a number of seconds, not negative")
        self._folder = TicketFolder(Path(folder).expanduser().absolute())
        self.wait, self.poll = wait, poll
        self._sleep = sleep

    @property
    def capabilities(self) -> Capabilities:
        """What the backend inside can do, by batches."""
        return replace(self.backend.capabilities, batched=True)

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield replies and failures as their batches end."""
        fingerprint = self.fingerprint()
        positions: dict[str, list[int]] = {}
        for position, request in enumerate(requests):
            refusal = self.capabilities.refusal(request)
            if refusal is None:
                positions.setdefault(request_key(request, fingerprint), []).append(position)
            else:
                yield position, refusal
        asked = {key: requests[same[0]] for key, same in positions.items()}
        yield from at_all_positions(positions, self._outcomes(asked))

    def _outcomes(self, asked: dict[str, ChatRequest]) -> Iterator[tuple[str, Outcome]]:
        # One after another: what another process is just handing over must not be taken for lost.
        with self._folder.exclusive():
            under_way, failures = self._begin(asked)
        yield from failures.items()
        yield from self._collect(under_way, asked.keys() - failures.keys())

    def _begin(self, asked: dict[str, ChatRequest]) -> tuple[list[KeptBatch], dict[str, Outcome]]:
        """Return the batches that hold what is asked, handed over now or before, and failures of what is in none."""
        under_way: list[KeptBatch] = []
        failures: dict[str, Outcome] = {}
        for batch in self._folder.read():
            if asked.keys().isdisjoint(batch.keys):
                continue
            known = batch if batch.batch_id else self._look_for(batch)
            if isinstance(known, ChatFailure):
                failures |= {key: known for key in batch.keys if key in asked}
            elif known is not None:
                under_way.append(known)
        held = {key for batch in under_way for key in batch.keys} | failures.keys()
        fresh = {key: request for key, request in asked.items() if key not in held}
        for came in self._hand_over(fresh):
            if isinstance(came, KeptBatch):
                under_way.append(came)
            else:
                failures |= came
        return under_way, failures

    def _look_for(self, batch: KeptBatch) -> KeptBatch | ChatFailure | None:
        """Return a batch with its id, or None, and forget it, if the provider never got it."""
        found = self.backend.find(batch.label, batch.count, batch.since)
        if isinstance(found, ChatFailure):
            return found
        taken = {other.batch_id for other in self._folder.read()}
        mine = next((batch_id for batch_id in found if batch_id not in taken), None)
        if mine is None:
            self._folder.take(batch, batch.keys)
            return None
        return self._folder.write(replace(batch, batch_id=mine))

    def _hand_over(self, fresh: dict[str, ChatRequest]) -> Iterator[KeptBatch | dict[str, Outcome]]:
        """Yield batches that the provider has accepted, and failures of requests that are in none."""
        keys = list(fresh)
        while keys:
            count = self.backend.n_fitting([fresh[key] for key in keys])
            chosen, keys = keys[:count], keys[count:]
            batch = self._folder.new(chosen)
            came = self.backend.submit({key: fresh[key] for key in chosen}, batch.label)
            if isinstance(came, BatchTicket):
                _LOG.info("%s: batch %r with %d requests.", self.name, came.batch_id, count)
                yield self._folder.write(replace(batch, batch_id=came.batch_id))
                continue
            if came.kind not in _UNKNOWN:
                self._folder.take(batch, chosen)
            if came.stops:
                chosen, keys = chosen + keys, []
            yield dict.fromkeys(chosen, came)

    def _collect(self, under_way: list[KeptBatch], wanted: set[str]) -> Iterator[tuple[str, Outcome]]:
        failed, open_keys = 0, set(wanted)
        while under_way:
            unfinished: list[KeptBatch] = []
            failure: ChatFailure | None = None
            for batch in under_way:
                came = self.backend.collect(BatchTicket(batch.batch_id, batch.keys))
                if isinstance(came, ChatFailure) and came.kind == "not_found":
                    gone = ChatFailure("server", f"The batch is not there any more: {came.message}")
                    came = dict.fromkeys(batch.keys, gone)
                if came is None or isinstance(came, ChatFailure):
                    failure = came or failure
                    unfinished.append(batch)
                    continue
                # Processes that asked at the same time may have put a request into two batches.
                mine = [key for key in batch.keys if key in open_keys]
                open_keys.difference_update(mine)
                for key in mine:
                    yield key, came[key]
                # Only now: whoever took the outcomes has kept them.
                self._folder.take(batch, wanted)
            under_way = unfinished
            failed = 0 if failure is None else failed + 1
            hopeless = failure is not None and (not failure.transient or failed >= _MOST_FAILED)
            if under_way and (hopeless or not self.wait):
                yield from dict.fromkeys(open_keys, _not_finished(failure)).items()
                return
            if under_way:
                pause = self.poll * 2.0**failed
                if failure is not None and failure.retry_after is not None:
                    pause = max(pause, failure.retry_after)
                _LOG.info("%s: %d batches are not finished.", self.name, len(under_way))
                self._sleep(min(pause, _LONGEST_WAIT))


def _not_finished(failure: ChatFailure | None) -> ChatFailure:
    """Return what to say of a batch that may still be answered, whether or not it could be looked at."""
    if failure is None:
        return ChatFailure("pending", "It is not finished yet.")
    return failure if failure.fatal else ChatFailure("pending", f"It cannot be looked at: {failure.message}")

"""Ask again what may go well later, and wait as long as the server asks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lvlm_va.backends.streaming import Outcome, complete_each, not_sent
from lvlm_va.backends.types import ChatBackend, ChatFailure, ChatReply, ChatRequest, Usage
from lvlm_va.backends.wrapper import BackendWrapper
from lvlm_va.common.validation import check_integer, check_real


class RetryingBackend(BackendWrapper):
    """Repeat requests that failed for a passing reason.

    A call goes in rounds. Each round asks for what has no outcome yet; before each, everyone who uses this
    object waits until its pause is over. A failure lengthens the pause: to what the server asked for, else to
    ``first_wait * 2 ** (attempt - 1)`` seconds, at most `max_wait`, times a random factor in [0.5, 1].

    - A passing failure (rate limit, server error, timeout, cut connection, garbled reply) is asked for again,
      up to `attempts` times. A server that wants a longer pause than `max_wait` is not waited for.
    - A fatal failure (quota, authentication, no such model, budget) ends the call: what was not answered fails
      for the same reason. A bad request fails alone.
    - A rate limit holds back what was not sent yet, which then counts as no attempt. After `attempts` rounds
      in a row without any reply, the call ends.
    - A reply that ran out of tokens is asked for once more with twice the tokens. If that does not go well
      either, the best that came stands, marked as broken off.

    Parameters
    ----------
    backend : ChatBackend
        The backend inside. Its own retries, if any, should be off.
    attempts : int, default=5
        Most times that a request is sent for a passing failure, at least 1.
    first_wait : float, default=1.0
        Seconds before the second attempt, where the server does not say; not negative.
    max_wait : float, default=120.0
        Longest pause in seconds, not negative.
    sleep : callable, default=time.sleep
        Waits for the seconds it is given.
    seed : int or None, default=None
        Seed of the random factors. None differs from run to run.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or range.
    """

    def __init__(
        self,
        backend: ChatBackend,
        *,
        attempts: int = 5,
        first_wait: float = 1.0,
        max_wait: float = 120.0,
        sleep: Callable[[float], object] = time.sleep,
        seed: int | None = None,
    ) -> None:
        super().__init__(backend)
        check_integer("attempts", attempts, 1, expected="an integer, at least 1")
        for argument, seconds in (("first_wait", first_wait), ("max_wait", max_wait)):
            check_real(argument, seconds, "[0, inf]", expected="a number of seconds, not negative")
        self.attempts = attempts
        self.first_wait = first_wait
        self.max_wait = max_wait
        self._gate = _PauseGate(sleep)
        self._random = random.Random(seed)

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield replies as they come, and failures when they are final."""
        open_asks = {position: _Ask(request) for position, request in enumerate(requests)}
        barren = 0
        while open_asks:
            self._gate.wait()
            order = list(open_asks)
            answered, stop = False, None
            last: ChatFailure | None = None
            for index, outcome in complete_each(self.backend, [open_asks[p].request for p in order]):
                position = order[index]
                final = self._settle(open_asks[position], outcome)
                if final is not None:
                    del open_asks[position]
                    yield position, final
                if isinstance(outcome, ChatReply):
                    answered = True
                    continue
                last = outcome
                if outcome.fatal or self._wants_too_long(outcome):
                    stop = outcome
            barren = 0 if answered else barren + 1
            if stop is None and barren >= self.attempts:
                stop = last
            if stop is not None:
                for position, ask in open_asks.items():
                    yield position, ask.outcome or not_sent(stop)
                return

    def _settle(self, ask: _Ask, outcome: Outcome) -> Outcome | None:
        """Return what is final, or None if the request is to be asked again."""
        ask.attempts += 1
        if isinstance(outcome, ChatReply):
            outcome = replace(outcome, usage=ask.usage + outcome.usage)
            if outcome.broke_off and ask.broken is None:
                ask.broken, ask.usage, ask.attempts = outcome, outcome.usage, 0
                ask.request = replace(ask.request, max_tokens=2 * ask.request.max_tokens)
                return None
            if ask.broken is not None and outcome.cut_short:
                return replace(ask.broken, usage=outcome.usage)
            return outcome
        ask.failure = outcome
        if outcome.transient:
            self._gate.pause(self._wait_after(outcome, ask.attempts))
            if ask.attempts < self.attempts and not self._wants_too_long(outcome):
                return None
        return ask.outcome

    def _wait_after(self, failure: ChatFailure, attempts: int) -> float:
        if failure.retry_after is not None:
            return min(self.max_wait, failure.retry_after)
        longest = min(self.max_wait, self.first_wait * 2.0 ** (attempts - 1))
        return longest * self._random.uniform(0.5, 1.0)

    def _wants_too_long(self, failure: ChatFailure) -> bool:
        return failure.transient and failure.retry_after is not None and failure.retry_after > self.max_wait


def has_retries(backend: ChatBackend) -> bool:
    """Return whether a `RetryingBackend` is among the wrappers around a backend."""
    while isinstance(backend, BackendWrapper) and not isinstance(backend, RetryingBackend):
        backend = backend.backend
    return isinstance(backend, RetryingBackend)


@dataclass
class _Ask:
    """A request that has no final outcome yet."""

    request: ChatRequest
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    broken: ChatReply | None = None
    failure: ChatFailure | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The best that there is if it is not asked again."""
        return self.broken or self.failure


class _PauseGate:
    """A moment before which nobody who shares it sends anything. Copies share it; other processes do not."""

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep
        self._until = 0.0
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        """Let nobody through for so many seconds from now, if that is later than before."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self) -> None:
        """Return when the pause is over, however often others lengthen it meanwhile."""
        waited_for = 0.0
        while (until := self._until) > waited_for:
            waited_for = until
            if (seconds := until - time.monotonic()) > 0:
                self._sleep(seconds)

    def __deepcopy__(self, memo: object) -> _PauseGate:
        return self

    def __reduce__(self) -> tuple[type[_PauseGate], tuple[Callable[[float], object]]]:
        return _PauseGate, (self._sleep,)

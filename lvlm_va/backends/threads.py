"""Ask a server several things at once."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.types import ChatFailure, ChatRequest


def ask_in_threads(
    ask: Callable[[ChatRequest], Outcome],
    requests: Sequence[ChatRequest],
    concurrency: int,
    close: Callable[[], object],
) -> Iterator[tuple[int, Outcome]]:
    """Yield what came of each request, as it comes.

    Parameters
    ----------
    ask : callable
        Returns the outcome of a request; called in several threads.
    requests : sequence of ChatRequest
        What to ask.
    concurrency : int
        Most requests under way or not yet taken by the caller, at least 1.
    close : callable
        Called once, when nothing is under way any more.

    Yields
    ------
    (int, ChatReply or ChatFailure)
        Position of a request and its outcome. The next request starts when the caller comes back from the last
        one. After a failure that stops the others none starts; closing the iterator starts none either, and
        does not wait for those under way.
    """
    todo: SimpleQueue[int | None] = SimpleQueue()
    done: SimpleQueue[tuple[int, Outcome | BaseException]] = SimpleQueue()
    count = min(concurrency, len(requests))
    left = itertools.count(1)

    def work() -> None:
        while (position := todo.get()) is not None:
            try:
                done.put((position, ask(requests[position])))
            except BaseException as error:
                done.put((position, error))
        if next(left) == count:
            close()

    # Daemons: an interrupted program need not wait for a slow server before it may end.
    threads = [Thread(target=work, name=f"lvlm_va-{i}", daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    waiting, running, stopped = iter(range(len(requests))), 0, False
    try:
        for position in itertools.islice(waiting, count):
            todo.put(position)
            running += 1
        while running:
            position, outcome = done.get()
            running -= 1
            if isinstance(outcome, BaseException):
                raise outcome
            stopped |= isinstance(outcome, ChatFailure) and outcome.stops
            yield position, outcome
            if not stopped and (following := next(waiting, None)) is not None:
                todo.put(following)
                running += 1
    finally:
        with contextlib.suppress(Empty):
            while True:
                todo.get_nowait()
                running -= 1
        for _ in threads:
            todo.put(None)
        if not running:
            for thread in threads:
                thread.join()

"""Replies as they come, from any backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lvlm_va.backends.types import ChatBackend, ChatFailure, ChatReply, ChatRequest

Outcome = ChatReply | ChatFailure


def complete_each(backend: ChatBackend, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
    """Yield replies and failures as they come.

    Parameters
    ----------
    backend : ChatBackend
        Asked through its own ``complete_each`` where it has one (see
        :class:`~lvlm_va.backends.types.StreamingBackend`), else through ``complete``,
        ``capabilities.batch_size`` requests at a time.
    requests : sequence of ChatRequest
        What to ask.

    Yields
    ------
    (int, ChatReply or ChatFailure)
        Position of a request and what came of it. After a failure that stops the others (a rate limit, or a
        fatal one), those not yet sent are left out.

    Raises
    ------
    ValueError
        If the backend breaks the contract: a wrong number of replies, a position twice, or requests left out
        for no reason.
    """
    own = getattr(backend, "complete_each", None)
    unanswered = set(range(len(requests)))
    stopped = False
    for position, outcome in own(requests) if own is not None else _in_chunks(backend, requests):
        if position not in unanswered:
            raise ValueError(
                f"The backend {backend.name!r} must answer each of the {len(requests)} requests once. Got "
                f"another answer for position {position} instead."
            )
        unanswered.remove(position)
        stopped |= isinstance(outcome, ChatFailure) and outcome.stops
        yield position, outcome
    if unanswered and not stopped:
        raise ValueError(
            f"The backend {backend.name!r} must answer all {len(requests)} requests. Got no answer for "
            f"{len(unanswered)} of them instead."
        )


def _in_chunks(backend: ChatBackend, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
    size = max(1, backend.capabilities.batch_size)
    for start in range(0, len(requests), size):
        chunk = requests[start : start + size]
        outcomes = backend.complete(chunk)
        if len(outcomes) != len(chunk):
            raise ValueError(
                f"The backend {backend.name!r} must return one reply or failure per request. Got "
                f"{len(outcomes)} for {len(chunk)} requests instead."
            )
        yield from enumerate(outcomes, start)
        if any(isinstance(outcome, ChatFailure) and outcome.stops for outcome in outcomes):
            return


def not_sent(failure: ChatFailure) -> ChatFailure:
    """Return the failure of a request that was not sent because another one met with `failure`."""
    return ChatFailure(
        failure.kind, f"Not sent, because an earlier request failed: {failure.message}", failure.retry_after
    )


def at_all_positions(
    positions: Mapping[str, Sequence[int]], outcomes: Iterable[tuple[str, Outcome]]
) -> Iterator[tuple[int, Outcome]]:
    """Yield what came of each key at all positions of requests that have it; only the first paid for a reply."""
    for key, outcome in outcomes:
        first, *others = positions[key]
        yield first, outcome
        again = replace(outcome, cached=True) if isinstance(outcome, ChatReply) else outcome
        for position in others:
            yield position, again


def in_order(count: int, answers: Iterable[tuple[int, Outcome]]) -> list[Outcome]:
    """Return one outcome per request from what ``complete_each`` yields.

    Parameters
    ----------
    count : int
        Number of requests.
    answers : iterable of (int, ChatReply or ChatFailure)
        Positions and outcomes, in any order.

    Returns
    -------
    list of ChatReply or ChatFailure
        In the order of the requests. What was left out failed for the reason that stopped it.
    """
    outcomes: list[Outcome | None] = [None] * count
    stop = ChatFailure("server", "no reason was given.")
    for position, outcome in answers:
        outcomes[position] = outcome
        if isinstance(outcome, ChatFailure) and outcome.stops:
            stop = outcome
    return [not_sent(stop) if outcome is None else outcome for outcome in outcomes]

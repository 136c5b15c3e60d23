"""What a critic and a judge share: a chat model, asked so that nothing paid for is lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from lvlm_va.backends import (
    BatchedBackend,
    Budget,
    CachedBackend,
    ChatBackend,
    ChatFailure,
    ChatReply,
    ChatRequest,
    Estimate,
    Prices,
    WaitingBackend,
    estimate,
    wrap_backend,
)
from lvlm_va.backends.retry import has_retries
from lvlm_va.common.printable import printable
from lvlm_va.critique.types import Critique


class ModelStoppedError(RuntimeError):
    """The chat model cannot go on: every later request would fail too, or none was answered.

    Parameters
    ----------
    name : str
        Name of the model.
    failure : ChatFailure
        What came in the place of a reply.
    critiques : sequence of Critique, default=()
        As below.

    Attributes
    ----------
    failure : ChatFailure
        What came in the place of a reply.
    critiques : tuple of Critique
        What the call would have returned, if it could be made. Where nothing was answered for a reason that is not
        fatal, `collect_critiques` and `judge_critiques` go on with it if the model has answered before.
    done : tuple of Critique
        Those of them that are finished; `collect_critiques` and `judge_critiques` keep them.
    """

    def __init__(self, name: str, failure: ChatFailure, critiques: Sequence[Critique] = ()) -> None:
        if failure.kind == "pending":
            message = (
                f"The model {name!r} has not answered everything: {failure.message} Run again later, with the same "
                "settings: nothing is handed over twice."
            )
        else:
            message = (
                f"The model {name!r} stopped answering ({failure.kind}): {failure.message} What it has answered is "
                "kept in the run directory, if there is one. Mend the cause and run again: only the rest is asked."
            )
        super().__init__(printable(message))
        self.failure = failure
        self.critiques = tuple(critiques)
        self.done = tuple(critique for critique in critiques if critique.answered)


@dataclass(frozen=True, kw_only=True)
class ModelUser:
    """Somebody who asks a chat model.

    Parameters
    ----------
    backend : ChatBackend or str
        The model, or what `lvlm_va.backends.load_backend` makes one of, when it is first needed.
    allow_remote : bool, default=False
        Whether the data may leave this machine; for a backend given as a string.
    cache : path-like or None, default=None
        File of replies; what is in it is not asked again. See `lvlm_va.backends.CachedBackend`. In an estimator with a
        run directory None is a file there.
    record : path-like or None, default=None
        File that gets every exchange. See `lvlm_va.backends.RecordingBackend`. None is as for `cache`.
    budget : Budget or None, default=None
        Limits of requests, tokens and money.
    batch : bool, default=False
        Whether to ask through the provider's batch interface: at half the price, with answers within a day. Needs a
        `cache` or a run directory, beside whose replies the batches under way are kept: a run that was killed goes on
        to wait for them. See `lvlm_va.backends.BatchedBackend`. A model that waits by itself
        (`lvlm_va.backends.FolderBackend`) is asked so in any case, at full price and without a file.
    batch_wait : bool, default=True
        Whether to wait for the answers. Otherwise `ModelStoppedError` is raised once all is handed over; the same
        call later fetches what is finished.
    batch_poll : float, default=60.0
        Seconds between two looks at a provider's unfinished batches.
    """

    backend: ChatBackend | str = field(kw_only=False)
    allow_remote: bool = False
    cache: str | os.PathLike[str] | None = None
    record: str | os.PathLike[str] | None = None
    budget: Budget | None = None
    batch: bool = False
    batch_wait: bool = True
    batch_poll: float = 60.0

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("model", "asked")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def kept_in(self, folder: str | os.PathLike[str]) -> Self:
        """Return the same that keeps replies and exchanges in a folder, unless it keeps them elsewhere."""
        folder = Path(folder).expanduser()
        return replace(
            self,
            cache=folder / "replies.sqlite" if self.cache is None else self.cache,
            record=folder / "exchanges.jsonl" if self.record is None else self.record,
        )

    def estimate(self, chats: Sequence[ChatRequest], prices: Prices | None = None) -> Estimate:
        """Return about what these requests would take, zero without any; replies that the cache holds are free."""
        if not chats:
            return Estimate()
        if self.cache is not None and Path(self.cache).expanduser().exists():
            known = CachedBackend(self.model, self.cache)
            chats = [chat for chat in chats if chat not in known]
        return estimate(chats, prices.in_batches() if self._in_batches and prices is not None else prices)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.backend if isinstance(self.backend, str) else self.backend.name

    @cached_property
    def model(self) -> ChatBackend:
        """The model itself, loaded when first needed."""
        if not isinstance(self.backend, str):
            return self.backend
        from lvlm_va.backends import load_backend

        model: ChatBackend = load_backend(self.backend, allow_remote=self.allow_remote)
        return model

    @cached_property
    def asked(self) -> ChatBackend:
        """The model with retries, and behind its cache, record and budget; one given bare, as it is."""
        bare = not self._in_batches and self.cache is None and self.record is None and self.budget is None
        if not isinstance(self.backend, str) and bare:
            return self._patient(self.batch_wait)
        return self._wrapped(self.batch_wait)

    @property
    def answers_later(self) -> bool:
        """Whether to hand over all questions before the first answer is waited for."""
        return self.batch or isinstance(self.model, WaitingBackend)

    def check_batches(self) -> None:
        """Raise before anything is done if the model cannot be asked by batches as it should be.

        Raises
        ------
        TypeError, ValueError
            If the model takes no batches, or it is not said where those under way are kept.
        """
        if self._in_batches:
            BatchedBackend(self.model, self._batches(self.batch_wait)["batches"], poll=self.batch_poll)

    def hand_over(self, chats: Sequence[ChatRequest]) -> None:
        """Hand over requests that were not answered yet, without waiting for answers.

        What cannot be handed over is left to whoever asks for the answers next.
        """
        if chats:
            self._wrapped(wait=False).complete(chats)

    @property
    def _in_batches(self) -> bool:
        """Whether to ask through the provider's batches."""
        return self.batch and not isinstance(self.model, WaitingBackend)

    def _patient(self, wait: bool) -> ChatBackend:
        if wait or not isinstance(self.model, WaitingBackend):
            return self.model
        return self.model.without_waiting()

    def _wrapped(self, wait: bool) -> ChatBackend:
        return wrap_backend(
            self._patient(wait),
            cache=self.cache,
            record=self.record,
            budget=self.budget,
            **self._batches(wait),
        )

    def _batches(self, wait: bool) -> dict[str, Any]:
        if not self._in_batches:
            return {}
        if self.cache is None:
            raise ValueError(
                "The 'cache' argument must be a file with batch=True, unless there is a run directory: batches under "
                "way are kept beside it. Got None instead."
            )
        return {"batches": Path(self.cache).with_suffix(".batches"), "wait": wait, "poll": self.batch_poll}


def check_backend_argument(backend: object) -> None:
    """Raise TypeError unless `backend` is text or has what a chat model has."""
    if isinstance(backend, str) or (
        not isinstance(backend, type)
        and callable(getattr(backend, "complete", None))
        and hasattr(backend, "capabilities")
    ):
        return
    raise TypeError(
        "The 'backend' argument must be a chat model with a 'complete(requests)' method, or text such as 'hf:FOLDER'. "
        f"Got {backend!r} instead."
    )


def ask(backend: ChatBackend, requests: Sequence[ChatRequest]) -> list[ChatReply | ChatFailure]:
    """Return the outcome of each request; a reply that ran out of tokens is asked for again with twice as many.

    A `RetryingBackend` around the model has done that already.

    Raises
    ------
    ValueError
        If the backend does not return one reply or failure per request.
    """
    outcomes = _complete(backend, requests)
    if has_retries(backend):
        return outcomes
    broken = {
        i: reply for i, reply in enumerate(outcomes) if isinstance(reply, ChatReply) and reply.broke_off
    }
    again = _complete(backend, [_with_more_tokens(requests[i]) for i in broken])
    for (i, first), outcome in zip(broken.items(), again, strict=True):
        # Words that were paid for are not given up for none.
        if first.cut_short or (isinstance(outcome, ChatReply) and not outcome.cut_short):
            outcomes[i] = outcome
    return outcomes


def stop_if_hopeless(
    name: str, outcomes: Sequence[ChatReply | ChatFailure], critiques: Sequence[Critique]
) -> None:
    """Raise `ModelStoppedError` where a failure is fatal, or nothing at all was answered.

    Its failure is a fatal one if there is any, else a passing one, else that of a request which is itself at fault.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, ChatFailure)]
    fatal = [failure for failure in failures if failure.fatal]
    if fatal or (failures and len(failures) == len(outcomes)):
        passing = [failure for failure in failures if failure.transient]
        raise ModelStoppedError(name, (fatal or passing or failures)[0], critiques)


def _complete(backend: ChatBackend, requests: Sequence[ChatRequest]) -> list[ChatReply | ChatFailure]:
    if not requests:
        return []
    outcomes = list(backend.complete(requests))
    if len(outcomes) != len(requests):
        raise ValueError(
            f"The backend {backend.name!r} must return one reply or failure per request. Got {len(outcomes)} for "
            f"{len(requests)} requests instead."
        )
    return outcomes


def _with_more_tokens(request: ChatRequest) -> ChatRequest:
    return replace(request, max_tokens=2 * request.max_tokens)

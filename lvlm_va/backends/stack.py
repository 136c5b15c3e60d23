"""All wrappers in their right order."""

from __future__ import annotations

import os

from lvlm_va.backends.batches import BatchedBackend
from lvlm_va.backends.budget import Budget, BudgetedBackend
from lvlm_va.backends.cache import CachedBackend
from lvlm_va.backends.record import RecordingBackend
from lvlm_va.backends.retry import RetryingBackend, has_retries
from lvlm_va.backends.types import ChatBackend


def wrap_backend(
    backend: ChatBackend,
    *,
    cache: str | os.PathLike[str] | None = None,
    budget: Budget | None = None,
    record: str | os.PathLike[str] | None = None,
    attempts: int = 5,
    batches: str | os.PathLike[str] | None = None,
    wait: bool = True,
    poll: float = 60.0,
) -> ChatBackend:
    """Return a backend that repeats what failed, and caches, limits and records as asked for.

    From the inside: batches; the budget, so that each attempt is paid for; the retries; the cache, so that a reply read
    from it is neither paid for nor retried; the record, so that it shows those replies too, marked as cached.

    Parameters
    ----------
    backend : ChatBackend
        The model.
    cache : str, path-like or None, default=None
        File for :class:`CachedBackend`. None keeps no reply.
    budget : Budget or None, default=None
        Limits for :class:`BudgetedBackend`. None sets none.
    record : str, path-like or None, default=None
        File for :class:`RecordingBackend`. None records nothing.
    attempts : int, default=5
        Most times that :class:`RetryingBackend` sends a request, at least 1. A model that brings its own retries keeps
        those, and gets no others.
    batches : str, path-like or None, default=None
        Folder for :class:`BatchedBackend`. None sends each request by itself.
    wait, poll : bool, float
        As of :class:`BatchedBackend`.

    Returns
    -------
    ChatBackend
        The wrapped backend.

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument has the wrong type or range, or a file cannot be used.
    """
    if batches is not None:
        backend = BatchedBackend(backend, batches, wait=wait, poll=poll)
    if budget is not None:
        backend = BudgetedBackend(backend, budget)
    if not has_retries(backend):
        backend = RetryingBackend(backend, attempts=attempts)
    if cache is not None:
        backend = CachedBackend(backend, cache)
    return backend if record is None else RecordingBackend(backend, record)

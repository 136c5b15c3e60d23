"""Where this process stands among several that do one job, as torchrun or ``accelerate launch`` start them.

What is passed here is small (rows, losses, verdicts); gradients have their own way. A process on its own is rank 0
of 1, and every function returns at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")

# While one rank asks a critic, the others wait: for hours, if need be. A rank that dies ends the wait at once.
_LONGEST_WAIT = timedelta(days=30)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _together() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if _together() else 1


def gather(value: T) -> list[T]:
    """Return what each rank passed, in their order. All ranks must call it."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_control_group())
    return values


def barrier() -> None:
    """Wait until all ranks are here."""
    gather(None)


def on_first(compute: Callable[[], T]) -> T:
    """Return what `compute` returns on rank 0, on every rank. All ranks must call it.

    Raises
    ------
    RuntimeError
        On the other ranks, if it raised on rank 0, where the error itself goes on.
    """
    if world_size() == 1:
        return compute()
    outcome: list[Any] = [None, None]
    error: BaseException | None = None
    if rank() == 0:
        try:
            outcome[0] = compute()
        except BaseException as raised:
            error, outcome[1] = raised, f"{type(raised).__name__}: {raised}"
    dist.broadcast_object_list(outcome, src=0, group=_control_group())
    if error is not None:
        raise error
    if outcome[1] is not None:
        raise RuntimeError(f"Process 0 failed, and this one, {rank()}, stops with it. {outcome[1]}")
    value: T = outcome[0]
    return value


def on_each(compute: Callable[[], T]) -> list[T]:
    """Return what `compute` returns on each rank, in their order. All ranks must call it.

    Raises
    ------
    RuntimeError
        On the other ranks, if it raised on one, where the error itself goes on.
    """
    if world_size() == 1:
        return [compute()]
    outcome: list[Any] = [None, None]
    error: BaseException | None = None
    try:
        outcome[0] = compute()
    except BaseException as raised:
        error, outcome[1] = raised, f"{type(raised).__name__}: {raised}"
    outcomes = gather(outcome)
    if error is not None:
        raise error
    for number, (_, message) in enumerate(outcomes):
        if message is not None:
            raise RuntimeError(f"Process {number} failed, and this one, {rank()}, stops with it. {message}")
    return [value for value, _ in outcomes]


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


@cache
def _control_group() -> Any:
    return dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)

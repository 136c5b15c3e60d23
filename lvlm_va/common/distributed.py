"""Where this process stands among several that do one job, as torchrun or ``accelerate launch`` start them.

What is passed here is small (rows, losses, verdicts); gradients have their own way. A process on its own is rank 0
of 1, and every function returns at once.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")

# While one rank asks a critic, the others wait: for hours, if need be. A rank that dies ends the wait at once.
_LONGEST_WAIT = timedelta(days=30)

# True while this process computes what others wait for: whatever it calls then takes it for a process on its own.
_alone = False


class ProcessesStoppedError(RuntimeError):
    """Another process of this job failed or was killed, so this one cannot go on."""


def join(device: str | torch.device) -> None:
    """Join the processes that a launcher started together with this one, once; without a launcher do nothing.

    Parameters
    ----------
    device : str or torch.device
        Where to compute. Unless it is the CPU, each process on a machine gets a GPU of its own as its current one.

    Raises
    ------
    ImportError
        If Accelerate is missing (extra ``distributed``).
    ValueError
        If all processes would compute on one and the same GPU.
    """
    launched = {"RANK", "LOCAL_RANK"} <= os.environ.keys() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if _alone or not (launched or _together()):
        return
    place = str(device)
    if place.startswith("cuda:"):
        raise ValueError(
            "The 'device' argument must be 'auto', 'cuda' or 'cpu' where several processes compute: each takes the GPU "
            f"of its own number. Got {place!r} instead."
        )
    if not _together():
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise ImportError(
                "Computing in several processes needs Accelerate. Install it with: pip install 'lvlm-va[distributed]'"
            ) from error
        PartialState(cpu=place == "cpu" or not torch.cuda.is_available())
        if not dist.is_initialized():
            raise RuntimeError(
                "The processes that were launched together cannot join: Accelerate was set up before, for one process. "
                "On CPUs that takes accelerate.PartialState(cpu=True); or leave it out, and fit does it."
            )


def leave() -> None:
    """Part from the other processes, when all is done."""
    if dist.is_initialized():
        dist.destroy_process_group()
        _control_group.cache_clear()  # threads of a group that is kept would abort the process at its end


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
    with _all_alive():
        dist.all_gather_object(values, value, group=_control_group())
    return values


def barrier() -> None:
    """Wait until all ranks are here."""
    gather(None)


def on_first(compute: Callable[[], T]) -> T:
    """Return what `compute` returns on rank 0, on every rank. All ranks must call it.

    Raises
    ------
    ProcessesStoppedError
        On the other ranks, if it raised on rank 0, where the error itself goes on.
    """
    if world_size() == 1:
        return compute()
    outcome, error = _attempt(compute) if rank() == 0 else ((None, None), None)
    passed = [outcome]
    with _all_alive():
        dist.broadcast_object_list(passed, src=0, group=_control_group())
    if error is not None:
        raise error
    value, message = passed[0]
    if message is not None:
        raise _stopped_with(0, message)
    return cast(T, value)


def on_each(compute: Callable[[], T]) -> list[T]:
    """Return what `compute` returns on each rank, in their order. All ranks must call it.

    Raises
    ------
    ProcessesStoppedError
        On the other ranks, if it raised on one, where the error itself goes on.
    """
    if world_size() == 1:
        return [compute()]
    outcome, error = _attempt(compute)
    outcomes = gather(outcome)
    if error is not None:
        raise error
    for failed, (_, message) in enumerate(outcomes):
        if message is not None:
            raise _stopped_with(failed, message)
    return [cast(T, value) for value, _ in outcomes]


def add_up(tensor: Tensor) -> Tensor:
    """Replace the values of a tensor by their sums over all ranks; return it. All ranks must call it."""
    if world_size() > 1:
        with _all_alive():
            dist.all_reduce(tensor, group=_group_of(tensor))
    return tensor


def share_module(module: nn.Module) -> None:
    """Give a module the weights and buffers that it has on rank 0. All ranks must call it."""
    if world_size() > 1:
        for value in module.state_dict().values():
            if isinstance(value, Tensor):
                passed = value.contiguous()
                with _all_alive():
                    dist.broadcast(passed, src=0, group=_group_of(value))
                value.copy_(passed)


def require_same(what: str, value: object) -> None:
    """Raise unless all ranks pass an equal value. All ranks must call it.

    Raises
    ------
    ValueError
        If one differs; the message names `what`.
    """
    if any(other != value for other in gather(value)):
        raise ValueError(
            f"All processes must get the same {what}; each takes its own share of them. Got different ones."
        )


def _together() -> bool:
    return not _alone and dist.is_available() and dist.is_initialized()


def _attempt(compute: Callable[[], T]) -> tuple[tuple[T | None, str | None], BaseException | None]:
    """Return what is computed while the others wait, or a message, and the error that it tells of."""
    global _alone
    _alone = True
    try:
        return (compute(), None), None
    except BaseException as error:
        return (None, f"{type(error).__name__}: {error}"), error
    finally:
        _alone = False


def _stopped_with(failed: int, message: str) -> ProcessesStoppedError:
    return ProcessesStoppedError(f"Process {failed} failed, and this one, {rank()}, stops with it. {message}")


@contextmanager
def _all_alive() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # also torch.distributed.DistError
        raise ProcessesStoppedError(
            f"Process {dist.get_rank()} cannot reach the others: one of them failed or was killed. Run the same "
            f"command again; with a run directory it goes on where it stopped. ({error})"
        ) from error


def _group_of(tensor: Tensor) -> Any:
    return _control_group() if tensor.device.type == "cpu" else None


@cache
def _control_group() -> Any:
    atexit.register(_leave_at_exit)
    return dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)


def _leave_at_exit() -> None:
    if not dist.is_initialized():
        return
    if dist.get_backend() == "gloo":
        leave()
    elif _control_group.cache_info().currsize:  # parting in NCCL might wait for a process that failed
        dist.destroy_process_group(_control_group())
        _control_group.cache_clear()

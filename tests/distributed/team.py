"""Processes on this machine that compute together, as a launcher would have started them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = 60


class Team:
    """Two processes and more; each is asked to call the same function.

    Parameters
    ----------
    n : int
        How many.
    store : Path
        A file that is not there yet, by which they meet.
    """

    def __init__(self, n: int, store: Path) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(n)]
        self._pipes = [mine for mine, _ in pairs]
        self.processes = [
            context.Process(target=_work, args=(rank, n, store, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pairs)
        ]
        for process in self.processes:
            process.start()

    def start(self, function: Callable[..., Any], *args: Any) -> None:
        """Have all call a function."""
        for pipe in self._pipes:
            pipe.send((function, args))

    def result(self, rank: int) -> Any:
        """Return what one made of it, or the error that it ended with."""
        assert self._pipes[rank].poll(TIMEOUT), f"process {rank} hangs"
        return self._pipes[rank].recv()

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Have all call a function; return the results."""
        self.start(function, *args)
        return [self.result(rank) for rank in range(len(self.processes))]

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()


def _work(rank: int, n: int, store: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=n)
    while True:
        function, args = pipe.recv()
        try:
            pipe.send(function(*args))
        except Exception as error:
            pipe.send(error)

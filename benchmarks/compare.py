"""Time ours and its peers in turn, in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.record import Record, Records, ratio

Function = Callable[[], Any]

# What rounds after the first may take: a ratio of long runs is settled by few.
SECONDS = 30.0


class Compare:
    """Times two sides in turn and keeps the medians as the record of one test; the fixture `compare` makes it.

    pytest-benchmark times our side; before each of its rounds the other sides are timed once each, so that what else
    the machine does falls on all of them alike.
    """

    def __init__(self, name: str, benchmark: Any, threads: int, records: Records) -> None:
        self.name, self._benchmark, self._threads, self._records = name, benchmark, threads, records

    def __call__(
        self,
        ours: Function,
        peer: Function,
        *,
        rounds: int = 5,
        ours_scale: float = 1.0,
        peer_scale: float = 1.0,
        also: Mapping[str, Function] | None = None,
        device: str = "cpu",
        note: str = "",
        **facts: Any,
    ) -> dict[str, list[float]]:
        """Time both sides, each once per round, in two rounds at least and in more as time allows.

        Parameters
        ----------
        ours, peer : callable
            The two sides. Assert that their results are equal first; that warms them up, too.
        rounds : int
            How often at most.
        ours_scale, peer_scale : float
            Factor of the seconds of a side that was timed on another amount of work; say so in `note`.
        also : mapping of str to callable
            Further sides, recorded in the details only.
        device : str
            What is waited for at the end of each call.
        note : str
            Printed with the result.
        **facts
            Recorded in the details.

        Returns
        -------
        dict of str to list of float
            The seconds of every side in each round, unscaled; empty where benchmarks are switched off.
        """
        sides = {"peer": peer, **(also or {})}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        timer = self._benchmark._timer
        torch.set_num_threads(self._threads)  # now: importing some peers changes it

        def time_the_others() -> None:
            for name, side in sides.items():
                start = timer()
                waiting(side, device)()
                seconds[name].append(timer() - start)

        start = timer()
        time_the_others()
        middle = timer()
        waiting(ours, device)()
        end = timer()
        more = min(rounds - 1, int(SECONDS / max(end - start, 1e-9)))
        self._benchmark.pedantic(waiting(ours, device), setup=time_the_others, rounds=max(1, more))
        if self._benchmark.stats is None:
            return {}
        seconds["ours"] = [end - middle, *self._benchmark.stats.stats.data]
        pairs = zip(seconds["ours"], seconds["peer"], strict=True)
        ratios = [ratio(self.name, a * ours_scale, b * peer_scale) for a, b in pairs]
        self.record(
            statistics.median(seconds["ours"]) * ours_scale,
            statistics.median(seconds["peer"]) * peer_scale,
            "s",
            spread=(min(ratios), max(ratios)),
            note=note,
            seconds=seconds,
            device=device,
            **facts,
        )
        return seconds

    def record(
        self,
        ours: float,
        peer: float,
        unit: str,
        *,
        spread: tuple[float, float] | None = None,
        note: str = "",
        **facts: Any,
    ) -> None:
        """Record an amount of either side that was measured otherwise."""
        value = ratio(self.name, ours, peer)
        record = Record(self.name, ours, peer, unit, spread or (value, value), note)
        self._records.add(record)
        self._benchmark.extra_info.update(ours=ours, peer=peer, unit=unit, ratio=value, note=note, **facts)

    def add_note(self, note: str, **facts: Any) -> None:
        """Add to the note and the details of the record just made."""
        last = self._records.all[self.name]
        last = replace(last, note="; ".join(filter(None, [last.note, note])))
        self._records.add(last)
        self._benchmark.extra_info.update(facts, note=last.note)


def waiting(function: Function, device: str) -> Function:
    """Return `function` followed, on a GPU, by a wait for its end."""
    if device == "cpu":
        return function

    def run() -> Any:
        result = function()
        torch.cuda.synchronize()
        return result

    return run

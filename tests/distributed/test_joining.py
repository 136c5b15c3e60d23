"""How processes meet, and what they pass each other."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from torch import nn

from lvlm_va.common.distributed import (
    ProcessesStoppedError,
    add_up,
    gather,
    join,
    on_each,
    on_first,
    rank,
    require_same,
    share_module,
    world_size,
)
from tests.distributed.team import Team


def test_a_process_that_no_launcher_started_stays_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # of some other job
    join("cuda:7")
    assert (rank(), world_size()) == (0, 1)
    assert on_each(lambda: 3) == gather(3) == [on_first(lambda: 3)]
    require_same("numbers", 1)


def test_without_accelerate_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"lvlm-va\[distributed\]"):
        join("auto")


def passed_on() -> tuple[object, ...]:
    module = nn.BatchNorm1d(2).double()
    module.register_buffer("flag", torch.tensor([rank() == 0]))
    nn.init.constant_(module.weight, rank() + 3)
    share_module(module)
    values = [torch.tensor([1.0, rank()]), torch.tensor(rank() + 1)]
    return (
        module.weight.tolist(),
        module.flag.tolist(),
        [add_up(value).tolist() for value in values],
        gather(os.getpid()),
        # What the first computes for all takes itself for one on its own, whatever it calls.
        on_first(lambda: (world_size(), gather("a"), on_first(rank))),
        on_each(lambda: world_size()),
    )


def test_what_is_passed(team: Team) -> None:
    first, second = team.run(passed_on)
    assert first == second
    pids = [process.pid for process in team.processes]
    assert first == ([3.0, 3.0], [True], [[2.0, 1.0], 3], pids, (1, ["a"], 0), [1, 1])


def failing_second() -> object:
    def compute() -> None:
        if os.environ["NUMBER"] == "1":
            raise OSError("disk full")

    os.environ["NUMBER"] = str(rank())
    return on_each(compute)


def different() -> None:
    require_same("images", rank())


def test_errors_reach_all(team: Team) -> None:
    first, second = team.run(failing_second)
    assert isinstance(first, ProcessesStoppedError) and "Process 1 failed" in str(first)
    assert isinstance(second, OSError)
    for error in team.run(different):
        assert isinstance(error, ValueError) and "the same images" in str(error)

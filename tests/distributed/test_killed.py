"""A process killed in the middle of training: the other ends with a clear error, and a new run goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lvlm_va.alignment import History
from lvlm_va.alignment.checkpoint import read_progress
from lvlm_va.common.distributed import ProcessesStoppedError, on_first, rank
from tests.distributed.team import Team
from tests.distributed.test_training import assert_same, trained
from tests.tolerances import PROCESSES

DROPS_OUT = {"net": "dropout", "aligned": 7, "accumulation_steps": 2}
DROPS_NOTHING = {"net": "cnn", "aligned": 7}


def second_is_killed(history: History) -> None:
    if rank() == 1 and len(history.loss) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def killed(asked: dict[str, Any], path: Path) -> object:
    return trained(asked, checkpoint_path=path, on_epoch=second_is_killed)


def broken_off(history: History) -> None:
    if len(history.loss) == 2:
        raise KeyboardInterruptedError


class KeyboardInterruptedError(Exception):
    pass


def goes_on(asked: dict[str, Any], path: Path) -> object:
    return trained(asked, checkpoint_path=path)


def test_a_killed_process_ends_the_run_which_then_goes_on(team: Team, tmp_path: Path) -> None:
    victims = Team(2, tmp_path / "store")
    path = tmp_path / "run.safetensors"
    try:
        victims.start(killed, DROPS_OUT, path)
        error = victims.result(0)
    finally:
        victims.close()
    assert isinstance(error, ProcessesStoppedError)
    assert "Run the same command again" in str(error)
    assert victims.processes[1].exitcode == -signal.SIGKILL
    assert read_progress(path) == (2, 4)
    resumed, unbroken = team.run(goes_on, DROPS_OUT, path), team.run(trained, DROPS_OUT)
    assert_same(resumed[0], unbroken[0])
    assert_same(resumed[1], unbroken[1])


def test_a_run_of_one_process_goes_on_in_two(team: Team, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterruptedError):
        trained(DROPS_NOTHING, checkpoint_path=path, on_epoch=broken_off)
    first, second = team.run(goes_on, DROPS_NOTHING, path)
    assert_same(first, second)
    assert_same(first, trained(DROPS_NOTHING), **PROCESSES)


def failing_first() -> object:
    def compute() -> None:
        raise OSError("disk full")

    return on_first(compute)


def test_an_error_of_the_first_process_ends_the_others(team: Team) -> None:
    first, second = team.run(failing_first)
    assert isinstance(first, OSError)
    assert isinstance(second, ProcessesStoppedError)
    assert "Process 0 failed" in str(second) and "disk full" in str(second)

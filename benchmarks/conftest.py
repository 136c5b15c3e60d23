"""The run: its options, the `compare` fixture, the one table at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.compare import Compare
from benchmarks.record import Record, missing, table, write_latest
from lvlm_va.runs.environment import environment

RECORDS = pytest.StashKey[list[Record]]()
THREADS = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks of lvlm_va")
    group.addoption(
        "--threads", type=int, default=None, help="CPU threads of both sides; torch's default: all"
    )
    group.addoption(
        "--latest", type=Path, default=None, help="write the ratios of this run to this JSON file"
    )
    group.addoption(
        "--data-dir",
        default=os.environ.get("LVLM_VA_MNIST"),
        help="folder with MNIST's four idx files (or LVLM_VA_MNIST); without it scikit-learn's digits are used",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Where an assertion fails before the timing, that failure is all there is to say.
    config.addinivalue_line("filterwarnings", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
    config.stash[RECORDS] = []
    config.stash[THREADS] = config.getoption("--threads") or torch.get_num_threads()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["lvlm_va"] = environment() | {"threads": str(config.stash[THREADS])}


@pytest.fixture
def compare(benchmark: Any, request: pytest.FixtureRequest) -> Compare:
    """Return what times ours and a peer in turn; the id is the test's name without ``test_``."""
    name, stash = request.node.name.removeprefix("test_"), request.config.stash
    return Compare(name, benchmark, stash[THREADS], stash[RECORDS])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    records = config.stash[RECORDS]
    if not records:
        return
    threads, facts = config.stash[THREADS], environment()
    terminalreporter.section(f"torch {facts['torch']}, {threads} CPU threads, GPU: {facts['gpu']}")
    terminalreporter.write_line(table(records))
    if config.getoption("--latest"):
        write_latest(config.getoption("--latest"), records)
        for name in missing(records):
            terminalreporter.write_line(f"{name}: NOT MEASURED")

"""The run: its options, the `compare` fixture, what a run that was cut off has left to do, the one table at the end."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlm_va
from benchmarks.compare import Compare
from benchmarks.record import Records, missing, table
from lvlm_va.runs.environment import environment

RECORDS = pytest.StashKey[Records]()
THREADS = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks of lvlm_va")
    group.addoption(
        "--threads", type=int, default=None, help="CPU threads of both sides; torch's default: all"
    )
    group.addoption(
        "--latest",
        type=Path,
        default=None,
        help="keep the ratios in this JSON file, and go on with a run that was cut off",
    )
    group.addoption(
        "--data-dir",
        default=os.environ.get("LVLM_VA_MNIST"),
        help="folder with MNIST's four idx files (or LVLM_VA_MNIST); without it scikit-learn's digits are used",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Where an assertion fails before the timing, that failure is all there is to say.
    config.addinivalue_line("filterwarnings", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
    config.stash[THREADS] = config.getoption("--threads") or torch.get_num_threads()
    options = {name: str(config.getoption(name)) for name in ("data_dir", "benchmark_timer")}
    facts = environment() | options | {"threads": config.stash[THREADS], "sources": _digest()}
    config.stash[RECORDS] = Records(config.getoption("--latest"), facts)


def _digest() -> str:
    """Return a hash of all code that is measured, and of what measures it."""
    folders = (Path(lvlm_va.__file__).parent, Path(__file__).parent)
    files = (
        file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in (".py", ".so")
    )
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _id(item: pytest.Item) -> str:
    return item.name.removeprefix("test_")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = config.stash[RECORDS].all
    config.hook.pytest_deselected(items=[item for item in items if _id(item) in known])
    items[:] = [item for item in items if _id(item) not in known]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.config.stash[RECORDS].write(is_finished=True)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["lvlm_va"] = environment() | {"threads": str(config.stash[THREADS])}


@pytest.fixture
def compare(benchmark: Any, request: pytest.FixtureRequest) -> Compare:
    """Return what times ours and a peer in turn; the id is the test's name without ``test_``."""
    stash = request.config.stash
    return Compare(_id(request.node), benchmark, stash[THREADS], stash[RECORDS])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    records = list(config.stash[RECORDS].all.values())
    if not records:
        return
    threads, facts = config.stash[THREADS], environment()
    terminalreporter.section(f"torch {facts['torch']}, {threads} CPU threads, GPU: {facts['gpu']}")
    terminalreporter.write_line(table(records))
    if config.getoption("--latest"):
        for name in missing(records):
            terminalreporter.write_line(f"{name}: NOT MEASURED")

"""One thread, a named machine, and a clock that waits for the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from lvlm_va._show_versions import environment

# Timings on one thread compare the work; how well it spreads depends on the machine's other load.
THREADS = 1


@pytest.fixture(autouse=True)
def pinned_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["lvlm_va"] = environment() | {"threads": str(THREADS)}


def waiting(function: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Return `function` followed, on a GPU, by a wait for its end."""
    if device == "cpu":
        return function

    def run() -> Any:
        result = function()
        torch.cuda.synchronize()
        return result

    return run

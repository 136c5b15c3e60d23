"""The devices of the tests of the ops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cuda_emulator.emulated import emulator
from tests.ops.samples import DEVICES


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the device of a test's tensors; "emulated" is the CPU, with the CUDA kernels in its kernels' place."""
    if request.param != "emulated":
        yield request.param
        return
    kernels = emulator()
    before = kernels.n_calls
    with kernels.on_cpu():
        yield "cpu"
    assert kernels.n_calls > before

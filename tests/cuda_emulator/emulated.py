"""The emulated CUDA kernels as a device of the tests of the ops."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch

from tests.cuda_emulator.build import CSRC, emulated_module, is_watched

# In which the threads of a block run; see set_order in emulator.h.
ORDERS = {"forward": 0, "reverse": 1, "another at every barrier": 2}
_BARRIER = re.compile(r"\b__sync(?:threads|warp)\(")
_REGISTERED = re.compile(r'library\.impl\("(\w+)"')


class Barrier(NamedTuple):
    """A barrier of csrc/cuda: its file's name, and its line."""

    file: str
    line: int


def barriers() -> list[Barrier]:
    """Return every barrier of the kernels."""
    return [
        Barrier(path.name, number)
        for path in sorted(CSRC.glob("cuda/*"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _BARRIER.search(line)
    ]


class Emulator:
    """The emulated kernels; :func:`emulator` has the one that a process needs.

    Attributes
    ----------
    n_calls : int
        How often an op ran on them.
    """

    def __init__(self) -> None:
        self._module, namespace = emulated_module()
        self._ops = getattr(torch.ops, namespace)
        self._definitions = torch.library.Library(namespace, "DEF")
        sources = "".join(path.read_text() for path in sorted(CSRC.glob("ops/*_cuda.cpp")))
        self.names = _REGISTERED.findall(sources)
        self.n_calls = 0
        for name in self.names:
            schema = str(getattr(torch.ops.lvlm_va, name).default._schema)
            self._definitions.define(schema.removeprefix("lvlm_va::"))

    def call(self, name: str, *args: Any) -> Any:
        """Run an op with the threads in every order; return what it gave, the same bits in each.

        Under another sanitizer, ten times slower, only in the last one.
        """
        self.n_calls += 1
        results = {}
        orders = ORDERS if is_watched() else list(ORDERS)[-1:]
        # What is not written stays NaN.
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            for order in orders:
                self._module.set_order(ORDERS[order])
                results[order] = getattr(self._ops, name).default(*args)
        finally:
            torch.use_deterministic_algorithms(before)
        first, *others = results.values()
        for result in others:
            torch.testing.assert_close(result, first, rtol=0, atol=0, equal_nan=True)
        return first

    @contextmanager
    def on_cpu(self) -> Iterator[None]:
        """Let the package's ops run on the emulated kernels where their tensors are on the CPU."""
        library = torch.library.Library("lvlm_va", "IMPL")
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Warning only once for all operators")
                for name in self.names:
                    library.impl(name, lambda *a, name=name: self.call(name, *a), "CPU", allow_override=True)
            yield
        finally:
            library._destroy()

    @contextmanager
    def without(self, barrier: Barrier) -> Iterator[None]:
        """Let the threads run past a barrier."""
        self._module.drop_barrier(*barrier)
        try:
            yield
        finally:
            self._module.drop_barrier("", 0)


@cache
def emulator() -> Emulator:
    """Return this process's emulated kernels, built at first use."""
    return Emulator()

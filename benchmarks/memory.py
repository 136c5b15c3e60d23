"""How much memory a call takes at its peak, measured in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Imported once, by the process that all measuring processes are forked from.
PRELOADED = ["torch", "lvlm_va.attribution", "lvlm_va.segmentation"]


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of a module's top level returns in a new process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_memory(build: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    """Return the peak memory of a call in a fresh process, as `measure_peak` does.

    Parameters
    ----------
    build : callable
        Of a module's top level. Called in the new process, it prepares and warms up, and returns the call.
    *arguments
        Of `build`.
    """
    return in_fresh_process(_build_and_measure, build, *arguments)


def measure_peak(call: Callable[[], Any]) -> int:
    """Return the bytes by which the resident memory of this process grows, at most, during a call.

    The high-water mark of the resident set (VmHWM of Linux) is reset just before the call; what was resident
    then (torch, the inputs, the net) does not count. So the result is what the machine must hold on top, with
    whatever the C library's allocator keeps back.
    """
    peak = watch_peak()
    result = call()
    found = peak()
    del result
    return found


def watch_peak() -> Callable[[], int]:
    """Return what tells by how many bytes the resident memory has grown, at most, since now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    return lambda: _status("VmHWM") - before


def _build_and_measure(build: Callable[..., Callable[[], Any]], *arguments: Any) -> int:
    return measure_peak(build(*arguments))


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}: peak memory is measured on Linux only.")

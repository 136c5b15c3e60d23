"""Load the compiled kernels once, and say why where they are missing."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import torch

from lvlm_va.common.warnings import warn

SWITCH = "LVLM_VA_NATIVE"

_load_errors: dict[str, str] = {}
_warned = False


def _load(name: str) -> ModuleType | None:
    if is_switched_off():
        return None
    try:
        return importlib.import_module(f"lvlm_va.{name}")
    except ImportError as error:
        _load_errors[name] = f"{type(error).__name__}: {error}"
        return None


def is_switched_off() -> bool:
    """Whether the environment asks for the references (``LVLM_VA_NATIVE=0``)."""
    return os.environ.get(SWITCH) == "0"


_module = _load("_C")
# A file of its own, which needs torch's CUDA libraries: one wheel serves torch without CUDA, too.
_cuda_module = _load("_C_cuda") if torch.version.cuda and _module is not None else None


def has_native() -> bool:
    """Whether the compiled kernels are loaded.

    Returns
    -------
    bool
        False where they were not built, did not load, or are switched off.
    """
    return _module is not None


def has_cuda() -> bool:
    """Whether the compiled kernels include those for CUDA.

    Returns
    -------
    bool
        False without such kernels, whether there is a GPU or not.
    """
    return _cuda_module is not None


def build_info() -> dict[str, str]:
    """Return the facts of the build: versions, compiler, flags and CUDA's version; empty without compiled kernels."""
    if _module is None:
        return {}
    cuda = {} if _cuda_module is None else {"cuda": _cuda_module.build_info()["cuda"]}
    return {**_module.build_info(), **cuda}


def load_error(device: str = "cpu") -> str | None:
    """Return why the compiled kernels for a device could not be loaded, or None."""
    return _load_errors.get("_C_cuda" if device == "cuda" else "_C")


def warn_without_native(device: str) -> None:
    """Warn, once in a process, that an op runs on its plain-torch reference; silent if that was asked for."""
    global _warned
    if _warned or is_switched_off():
        return
    _warned = True
    error = load_error(device) or load_error()
    reason = f"they hold no kernels for {device}" if error is None else f"they did not load ({error})"
    warn(
        f"lvlm_va runs without its compiled kernels: {reason}. Results are the same, but slower. Build them "
        "with 'pip install --no-build-isolation -e .' (needs a C++ compiler), or set LVLM_VA_NATIVE=0 to be "
        "content with this."
    )

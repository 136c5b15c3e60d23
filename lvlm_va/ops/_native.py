"""Load the compiled kernels once, and say why where they are missing."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from lvlm_va.common.warnings import warn

SWITCH = "LVLM_VA_NATIVE"

_load_error: str | None = None
_warned = False


def _load() -> ModuleType | None:
    global _load_error
    if is_switched_off():
        return None
    try:
        return importlib.import_module("lvlm_va._C")
    except ImportError as error:
        _load_error = f"{type(error).__name__}: {error}"
        return None


def is_switched_off() -> bool:
    """Whether the environment asks for the references (``LVLM_VA_NATIVE=0``)."""
    return os.environ.get(SWITCH) == "0"


_module = _load()


def has_native() -> bool:
    """Whether the compiled kernels are loaded."""
    return _module is not None


def has_cuda() -> bool:
    """Whether the compiled kernels include those for CUDA."""
    return bool(build_info().get("cuda"))


def build_info() -> dict[str, str]:
    """Return the facts of the build: versions, compiler and flags; empty without compiled kernels."""
    return dict(_module.build_info()) if _module is not None else {}


def load_error() -> str | None:
    """Return why the compiled kernels could not be loaded, or None."""
    return _load_error


def warn_without_native(device: str) -> None:
    """Warn, once in a process, that an op runs on its plain-torch reference; silent if that was asked for."""
    global _warned
    if _warned or is_switched_off():
        return
    _warned = True
    reason = f"they hold no kernels for {device}" if has_native() else f"they did not load ({_load_error})"
    warn(
        f"lvlm_va runs without its compiled kernels: {reason}. Results are the same, but slower. Build them "
        "with 'pip install --no-build-isolation -e .' (needs a C++ compiler), or set LVLM_VA_NATIVE=0 to be "
        "content with this."
    )

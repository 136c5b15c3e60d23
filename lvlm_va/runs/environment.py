"""What this installation runs on: versions, compiled kernels, devices."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

from lvlm_va.ops import _native

PACKAGES = ("lvlm-va", "torch", "numpy", "scikit-learn", "transformers")


def environment() -> dict[str, str]:
    """Return the facts that a bug report or a table of timings needs.

    Returns
    -------
    dict of str to str
        Versions of Python and the packages, the GPU, and how the kernels were built or why they are missing.
    """
    facts = {"python": platform.python_version(), "platform": platform.platform()}
    facts |= {name: _version(name) for name in PACKAGES}
    facts["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    if _native.has_native():
        facts["kernels"] = "CPU and CUDA" if _native.has_cuda() else "CPU"
        if error := _native.load_error("cuda"):
            facts["kernels"] += f"; none for CUDA: {error}"
        facts |= {f"kernels built with {name}": fact for name, fact in _native.build_info().items() if fact}
    elif _native.is_switched_off():
        facts["kernels"] = f"none: switched off by {_native.SWITCH}=0"
    else:
        facts["kernels"] = f"none: {_native.load_error()}"
    return facts


def show_versions() -> str:
    """Return :func:`environment` as text, one fact a line."""
    facts = environment()
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"

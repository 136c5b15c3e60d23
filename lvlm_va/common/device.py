"""Where to compute."""

from __future__ import annotations

import torch


def resolve_device(device: str | torch.device, *, float64: bool = True) -> torch.device:
    """Return the device of that name; ``"auto"`` is an accelerator where there is one.

    Parameters
    ----------
    device : str or torch.device
        What the user passed.
    float64 : bool, default=True
        Whether it must know float64, which only CPUs and CUDA GPUs do.

    Raises
    ------
    ValueError
        If there is no such device here.
    """
    kinds = "'auto', 'cpu' or a CUDA device" if float64 else "'auto' or a device"
    expected = f"The 'device' argument must be {kinds} of this machine. Got {str(device)!r} instead"
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None or (float64 and found.type != "cuda") else found
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"{expected} ({error}).") from error
    if float64 and resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"{expected}.")
    return resolved

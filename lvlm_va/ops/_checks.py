"""Sentences for arguments that an op cannot take."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64)


def require_tensor(
    name: str,
    value: object,
    shape: str,
    ndim: int,
    dtypes: tuple[torch.dtype, ...],
    *,
    at_least: bool = False,
) -> Tensor:
    """Return `value`, a tensor of one of `dtypes` with `ndim` dimensions (or more, with `at_least`)."""
    names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    expected = f"The {name!r} argument must be a {names} tensor of shape {shape}."
    if not isinstance(value, Tensor):
        raise TypeError(f"{expected} Got {type(value).__name__} instead.")
    if value.dtype not in dtypes:
        raise TypeError(f"{expected} Got dtype {str(value.dtype).removeprefix('torch.')} instead.")
    if value.ndim < ndim or (value.ndim > ndim and not at_least):
        raise ValueError(f"{expected} Got shape {tuple(value.shape)} instead.")
    return value


def require_shape(name: str, value: Tensor, shape: tuple[int, ...], why: str) -> None:
    """Raise if `value` is not of exactly this shape."""
    if value.shape != shape:
        raise ValueError(
            f"The {name!r} argument must have shape {tuple(shape)} {why}. Got {tuple(value.shape)} instead."
        )


def require_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise if two tensors live on different devices."""
    if value.device != other.device:
        raise ValueError(
            f"The {name!r} argument must be on the device of {other_name!r}, {other.device}. "
            f"Got {value.device} instead; move it with .to({str(other.device)!r})."
        )

"""Inputs and devices that the op tests share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    ],
)
DEVICES = ["cpu", CUDA]
DTYPES = [torch.float32, torch.float64]


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def penalty_inputs(shape: tuple[int, ...], dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return a normal gradient of `shape` (n, C, *spatial), and a mask with zeros and fractions."""
    draw = generator()
    gradient = scale * torch.randn(shape, dtype=torch.float64, generator=draw)
    mask = torch.rand((shape[0], *shape[2:]), dtype=torch.float64, generator=draw)
    return gradient.to(dtype), mask.where(mask > 0.4, 0).to(dtype)


def em_inputs(
    n: int, height: int, width: int, n_components: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights, half of them 0, and a start of means, covariances and shares."""
    draw = generator(seed)
    weights = torch.rand((n, height, width), dtype=dtype, generator=draw)
    weights = (weights - 0.5).clamp_min(0)
    means = torch.rand((n, n_components, 2), dtype=torch.float64, generator=draw)
    covariances = torch.tensor([[0.05, 0.01], [0.01, 0.03]], dtype=torch.float64)
    shares = torch.rand((n, n_components), dtype=torch.float64, generator=draw) + 0.5
    return weights, means, covariances.expand(n, n_components, 2, 2).clone(), shares


def centres(height: int, width: int) -> Tensor:
    """Return the coordinates of the pixels, row by row, of shape (height * width, 2)."""
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    return torch.stack([rows.repeat_interleave(width), columns.repeat(height)], dim=1)


def assert_fits_equal(fit: Any, other: Any, rtol: float, atol: float) -> None:
    """Check that two EM results are the same up to rounding, labels and iterations exactly."""
    for name in ("means", "covariances", "shares", "log_likelihood"):
        torch.testing.assert_close(
            getattr(fit, name), getattr(other, name), rtol=rtol, atol=atol, equal_nan=True, msg=name
        )
    assert torch.equal(fit.n_iter, other.n_iter)
    assert torch.equal(fit.labels, other.labels)

"""Inputs and devices that the op tests share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.cuda_emulator.build import COMPILER

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    ],
)
# The CUDA kernels on the CPU: see tests/cuda_emulator.
EMULATED = pytest.param("emulated", marks=pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler"))
DEVICES = ["cpu", EMULATED, CUDA]
# For what would take the emulator long.
NOT_EMULATED = ["cpu", CUDA]
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


# Numbers that shape an activation, and the activations of positive numbers.
PARAMETERS = {"elu": (1.3, 0.9, 0.8), "hardtanh": (-0.5, 1.5), "leaky_relu": (0.1,), "softplus": (2.0, 20.0)}
POSITIVE = {"log", "reciprocal", "rsqrt", "sqrt"}

# (references, images, rest) of the attribution ops: odd, single, longer than a kernel's piece, empty.
PAIR_SHAPES = [
    (3, 2, (5, 7)),
    (1, 1, (1,)),
    (2, 3, ()),
    (2, 3, (2, 2099)),
    (0, 2, (3,)),
    (2, 0, (3,)),
    (2, 3, (0, 4)),
]


def pair_inputs(
    shape: tuple[int, int, tuple[int, ...]],
    dtype: torch.dtype,
    *,
    shared: bool = True,
    one_gradient: bool = False,
    positive: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return multipliers (B or 1, n, *rest), images (1, n, *rest) and references (B, 1 or n, *rest).

    Of every five values of an image one is its first reference's, and one differs from it by little.
    """
    n_references, n, rest = shape
    draw = generator()
    shapes = ((1 if one_gradient else n_references, n), (1, n), (n_references, 1 if shared else n))
    gradient, u, r = (2 * torch.randn((*lead, *rest), dtype=torch.float64, generator=draw) for lead in shapes)
    if positive:
        u, r = u.abs() + 0.1, r.abs() + 0.1
    gradient, u, r = gradient.to(dtype), u.to(dtype), r.to(dtype)
    if n_references:
        of_first = r[:1].expand_as(u).reshape(-1)
        flat = u.view(-1)
        flat[::5] = of_first[::5]
        flat[1::5] = of_first[1::5] * (1 + 1e-3)
    return gradient, u, r


def pool_inputs(
    dtype: torch.dtype, *, shared: bool = True, planes: int = 3, ties: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the arguments of `maxpool_rescale` for 3x3 windows with stride 2, of 2 references and 4 images."""
    draw = generator()
    u = torch.randn((1, 4, planes, 13, 12), dtype=torch.float64, generator=draw).to(dtype)
    r = torch.randn((2, 1 if shared else 4, planes, 13, 12), dtype=torch.float64, generator=draw).to(dtype)
    if ties:
        u, r = u.round(), r.round()
    indices = [
        F.max_pool2d_with_indices(x.flatten(0, 1), 3, 2, 1)[1].flatten(-2).unflatten(0, x.shape[:2])
        for x in (u, r)
    ]
    shape = (2, 4, planes, indices[0].shape[-1])
    gradient = torch.randn(shape, dtype=torch.float64, generator=draw).to(dtype)
    return gradient, u.flatten(-2), r.flatten(-2), indices[0], indices[1]

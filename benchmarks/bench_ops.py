"""Speed of the ops against their plain-torch references, on results that are equal.

What no implementation can go below:

- ``masked_gradient_penalty`` reads each gradient and mask value once: ``4 n (C + 1) P`` bytes in float32. Its
  backward reads them and writes a gradient: ``4 n (2 C + 1) P`` bytes. The share of the memory's bandwidth
  follows from the bytes recorded with each timing.
- ``ppeps_em`` evaluates one Gaussian and one exponential per pixel of positive weight, component and E-step
  (``max_iter + 1`` of them): about 50 floating-point operations each. Its pixels stay in the caches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.conftest import waiting
from lvlm_va.ops import has_cuda, has_native
from lvlm_va.ops.reference import masked_gradient_penalty as penalty_reference
from lvlm_va.ops.reference import ppeps_em as em_reference
from tests.ops.samples import CUDA, em_inputs, penalty_inputs
from tests.tolerances import OP

DEVICES = ["cpu", CUDA]
FUNCTIONS = ["native", "reference"]
ops = torch.ops.lvlm_va


def choose(
    name: str, device: str, native: Callable[..., Any], reference: Callable[..., Any]
) -> Callable[..., Any]:
    if name == "native" and not (has_native() if device == "cpu" else has_cuda()):
        pytest.skip(f"no compiled kernels for {device}")
    return native if name == "native" else reference


def measure(benchmark: Any, function: Callable[[], Any], device: str, *, rounds: int, **facts: Any) -> None:
    benchmark.extra_info.update(facts, device=device, torch=torch.__version__)
    benchmark.pedantic(waiting(function, device), rounds=rounds, warmup_rounds=1)
    if "bytes" in facts:
        benchmark.extra_info["GB/s"] = facts["bytes"] / benchmark.stats.stats.median / 1e9


def plain_penalty(gradient: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What one would write without an op: sums in float32."""
    return (gradient * mask.unsqueeze(1)).square().flatten(1).sum(1)


@pytest.mark.parametrize("name", [*FUNCTIONS, "plain"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(256, 1, 28, 28), (64, 3, 224, 224)])
def test_masked_gradient_penalty(benchmark: Any, shape: tuple[int, ...], device: str, name: str) -> None:
    benchmark.group = f"masked_gradient_penalty {shape} {device}"
    gradient, mask = (tensor.to(device) for tensor in penalty_inputs(shape, torch.float32))
    reference = plain_penalty if name == "plain" else penalty_reference.masked_gradient_penalty
    function = choose(name, device, ops.masked_gradient_penalty.default, reference)
    expected = penalty_reference.masked_gradient_penalty(gradient, mask)
    torch.testing.assert_close(function(gradient, mask), expected, rtol=OP[torch.float32][0], atol=0)
    n_bytes = 4 * (gradient.numel() + mask.numel())
    measure(benchmark, lambda: function(gradient, mask), device, rounds=20, shape=shape, bytes=n_bytes)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(256, 1, 28, 28), (64, 3, 224, 224)])
def test_masked_gradient_penalty_backward(
    benchmark: Any, shape: tuple[int, ...], device: str, name: str
) -> None:
    benchmark.group = f"masked_gradient_penalty_backward {shape} {device}"
    gradient, mask = (tensor.to(device) for tensor in penalty_inputs(shape, torch.float32))
    output = torch.ones(shape[0], device=device)
    function = choose(
        name,
        device,
        ops.masked_gradient_penalty_backward.default,
        penalty_reference.masked_gradient_penalty_backward,
    )
    expected = penalty_reference.masked_gradient_penalty_backward(output, gradient, mask)
    rtol, atol = OP[torch.float32]
    torch.testing.assert_close(function(output, gradient, mask), expected, rtol=rtol, atol=atol)
    n_bytes = 4 * (2 * gradient.numel() + mask.numel())
    measure(
        benchmark, lambda: function(output, gradient, mask), device, rounds=20, shape=shape, bytes=n_bytes
    )


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "side"), [(32, 28), (4, 224)])
def test_ppeps_em(benchmark: Any, n: int, side: int, device: str, name: str) -> None:
    benchmark.group = f"ppeps_em {n} x {side} x {side}, 5 components, 50 updates, {device}"
    inputs = [tensor.to(device) for tensor in em_inputs(n, side, side, 5, dtype=torch.float32)]
    options = (1 / (12 * side**2), 1 / (12 * side**2), 50, 0.0)
    function = choose(name, device, ops.ppeps_em.default, em_reference.ppeps_em)
    rtol, atol = OP[torch.float64]
    expected = em_reference.ppeps_em(*inputs, *options)
    for result, truth in zip(function(*inputs, *options), expected, strict=True):
        torch.testing.assert_close(result, truth, rtol=rtol, atol=atol)
    exponentials = int((inputs[0] > 0).sum()) * 5 * 51
    measure(benchmark, lambda: function(*inputs, *options), device, rounds=3, exponentials=exponentials)

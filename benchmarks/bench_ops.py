"""Speed of the ops against their plain-torch oracles and against memory, on results that are equal.

What no implementation can go below: all ops but `ppeps_em` do a few operations per number, so the bytes that
they must read and write (each once) set the floor. It is timed in the same run, as a copy of as many bytes; the
note gives the share of the copy's speed that the op reaches. `ppeps_em` evaluates one Gaussian and one exponential
per pixel of positive weight, component and E-step (``max_iter + 1`` of them), about 50 operations each; its pixels
stay in the caches.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.compare import Compare
from lvlm_va import ops
from lvlm_va.ops.reference import attribution as attribution_reference
from lvlm_va.ops.reference import masked_gradient_penalty as penalty_reference
from lvlm_va.ops.reference import ppeps_em as em_reference
from lvlm_va.ops.reference import segment_masks as masks_reference
from tests.ops.samples import CUDA, em_inputs, penalty_inputs
from tests.tolerances import OP

# Without a kernel the face runs the oracle itself, and the ratio is 1.
pytestmark = pytest.mark.parametrize("device", ["cpu", CUDA])


def compare_with_memory(
    compare: Compare,
    device: str,
    ours: Callable[[], Tensor],
    oracle: Callable[[], Tensor],
    moved: list[Tensor],
    **also: Callable[[], Any],
) -> None:
    """Assert equal results, then time ours, the oracle and a copy of as many bytes as ours must move.

    `moved` are the tensors that the op reads; what it returns is added.
    """
    result = ours()
    rtol, atol = OP[torch.float32]
    torch.testing.assert_close(result, oracle(), rtol=rtol, atol=atol)
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in [*moved, result])
    source = torch.zeros(n_bytes // 8, device=device)
    target = torch.empty_like(source)
    seconds = compare(
        ours,
        oracle,
        rounds=9 if device == "cpu" else 30,
        also={"copy": lambda: target.copy_(source), **also},
        device=device,
        bytes=n_bytes,
    )
    if seconds:
        copy, mine = statistics.median(seconds["copy"]), statistics.median(seconds["ours"])
        notes = [f"{n_bytes / 2**20:.0f} MiB, {n_bytes / mine / 1e9:.1f} GB/s, {copy / mine:.0%} of a copy's"]
        notes += [
            f"{name} / ours {statistics.median(seconds[name]) / mine:.3g}" for name in also if name in seconds
        ]
        compare.add_note("; ".join(notes), share_of_copy=copy / mine)


def normal(*shape: int, device: str, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def penalty(device: str) -> tuple[Tensor, Tensor]:
    shape = (64 if device == "cpu" else 1024, 3, 224, 224)
    gradient, mask = (tensor.to(device) for tensor in penalty_inputs(shape, torch.float32))
    return gradient, mask


def test_masked_gradient_penalty(compare: Compare, device: str) -> None:
    gradient, mask = penalty(device)
    compare_with_memory(
        compare,
        device,
        lambda: ops.masked_gradient_penalty(gradient, mask),
        lambda: penalty_reference.masked_gradient_penalty(gradient, mask),
        [gradient, mask],
        plain=lambda: (gradient * mask.unsqueeze(1)).square().flatten(1).sum(1),
    )


def test_masked_gradient_penalty_backward(compare: Compare, device: str) -> None:
    gradient, mask = penalty(device)
    output = torch.ones(len(gradient), device=device)
    compare_with_memory(
        compare,
        device,
        lambda: torch.ops.lvlm_va.masked_gradient_penalty_backward.default(output, gradient, mask),
        lambda: penalty_reference.masked_gradient_penalty_backward(output, gradient, mask),
        [gradient, mask],
    )


def pairs(device: str, *rest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return images (1, n, *rest), references (B, 1, *rest) and the shape (B, n, *rest) filled with noise."""
    n, n_references = (8, 10) if device == "cpu" else (16, 20)
    images = normal(1, n, *rest, device=device)
    references = normal(n_references, 1, *rest, device=device, seed=1)
    return (
        images,
        references,
        normal(1, n, *rest, device=device, seed=2).expand(n_references, -1, *rest).clone(),
    )


def test_rescale_multipliers(compare: Compare, device: str) -> None:
    side = 56 if device == "cpu" else 112
    images, references, multipliers = pairs(device, 64, side, side)
    compare_with_memory(
        compare,
        device,
        lambda: ops.rescale_multipliers(multipliers, images, references, "relu"),
        lambda: attribution_reference.rescale_multipliers(multipliers, images, references, "relu", ()),
        [multipliers, images, references],
    )


def test_maxpool_rescale(compare: Compare, device: str) -> None:
    side = 56 if device == "cpu" else 112
    images, references, _ = pairs(device, 64, side, side)

    def pooled(values: Tensor) -> tuple[Tensor, Tensor]:
        flat = values.flatten(0, 1)
        _, indices = F.max_pool2d(flat, 3, 2, 1, return_indices=True)
        return values.flatten(-2), indices.flatten(-2).unflatten(0, values.shape[:2])

    (u, u_indices), (r, r_indices) = pooled(images), pooled(references)
    multipliers = normal(1, *u_indices.shape[1:], device=device, seed=2).expand(len(r), -1, -1, -1).clone()
    arguments = (multipliers, u, r, u_indices, r_indices)
    compare_with_memory(
        compare,
        device,
        lambda: ops.maxpool_rescale(*arguments),
        lambda: attribution_reference.maxpool_rescale(*arguments),
        list(arguments),
    )


def test_attribution_reduce(compare: Compare, device: str) -> None:
    images, references, multipliers = pairs(device, 3, 224, 224)
    if device != "cpu":  # 16 images would not fill a GPU
        images, multipliers = images.repeat(1, 4, 1, 1, 1), multipliers.repeat(1, 4, 1, 1, 1)
    compare_with_memory(
        compare,
        device,
        lambda: ops.attribution_reduce(multipliers, images, references),
        lambda: attribution_reference.attribution_reduce(multipliers, images, references),
        [multipliers, images, references],
    )


def test_segment_masks(compare: Compare, device: str) -> None:
    n, n_segments = 64 if device == "cpu" else 4096, 5
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(n_segments + 1, (n, 224, 224), generator=draw).to(device)
    spurious = (torch.rand(n, n_segments, generator=draw) < 0.5).to(device)
    compare_with_memory(
        compare,
        device,
        lambda: ops.segment_masks(labels, spurious),
        lambda: masks_reference.segment_masks(labels, spurious, torch.float32),
        [labels, spurious],
    )


@pytest.mark.parametrize(("n", "side"), [(32, 28), (4, 224)])
def test_ppeps_em(compare: Compare, n: int, side: int, device: str) -> None:
    inputs = [tensor.to(device) for tensor in em_inputs(n, side, side, 5, dtype=torch.float32)]
    fit = ops.ppeps_em(*inputs, max_iter=50, tol=0.0)

    def oracle() -> Any:
        return em_reference.ppeps_em(*inputs, 1 / (12 * side**2), 1 / (12 * side**2), 50, 0.0)

    rtol, atol = OP[torch.float64]
    for result, truth in zip(fit, oracle(), strict=True):
        torch.testing.assert_close(result, truth, rtol=rtol, atol=atol)
    exponentials = int((inputs[0] > 0).sum()) * 5 * 51
    seconds = compare(
        lambda: ops.ppeps_em(*inputs, max_iter=50, tol=0.0),
        oracle,
        rounds=3,
        device=device,
        exponentials=exponentials,
    )
    if seconds:
        each = statistics.median(seconds["ours"]) / exponentials
        compare.add_note(f"{n} maps, 5 components, 50 updates: {1e9 * each:.2g} ns per exponential")

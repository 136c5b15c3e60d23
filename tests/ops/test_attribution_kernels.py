"""The attribution ops against their oracles: every dtype, shape, stride, thread count and device."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck
from torch.nn import functional as F

from lvlm_va.ops import attribution_reduce, has_native, maxpool_rescale, rescale_multipliers
from lvlm_va.ops._attribution import _N_PARAMETERS, ACTIVATIONS
from lvlm_va.ops.reference import attribution as reference
from tests.ops.samples import (
    DTYPES,
    NOT_EMULATED,
    PAIR_SHAPES,
    PARAMETERS,
    POSITIVE,
    pair_inputs,
    pool_inputs,
)
from tests.tolerances import OP, SLOPE

ops = torch.ops.lvlm_va
HEADER = Path(__file__).parents[2] / "csrc" / "shared" / "activations.h"
Inputs = tuple[Tensor, Tensor, Tensor]


def all_pairs(dtype: torch.dtype, *, positive: bool = False) -> Iterator[Inputs]:
    for shape in PAIR_SHAPES:
        for shared, one_gradient in ((True, False), (False, False), (True, True)):
            yield pair_inputs(shape, dtype, shared=shared, one_gradient=one_gradient, positive=positive)


def close(got: Tensor, expected: Tensor, dtype: torch.dtype, tolerance: tuple[float, float]) -> None:
    assert got.dtype == dtype
    rtol, atol = tolerance
    torch.testing.assert_close(got.cpu(), expected.to(dtype), rtol=rtol, atol=atol, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rescale_equals_the_oracle(name: str, dtype: torch.dtype, device: str) -> None:
    parameters = PARAMETERS.get(name, ())
    for inputs in all_pairs(dtype, positive=name in POSITIVE):
        got = rescale_multipliers(*(t.to(device) for t in inputs), name, parameters)
        expected = reference.rescale_multipliers(*(t.double() for t in inputs), name, parameters)
        close(got, expected, dtype, SLOPE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_maxpool_equals_the_oracle(dtype: torch.dtype, device: str) -> None:
    for options in ({}, {"shared": False}, {"ties": True}, {"planes": 1}):
        gradient, u, r, *indices = pool_inputs(dtype, **options)
        for grad in (gradient, gradient[:1]):
            got = maxpool_rescale(*(t.to(device) for t in (grad, u, r, *indices)))
            expected = reference.maxpool_rescale(grad.double(), u.double(), r.double(), *indices)
            close(got, expected, dtype, OP[dtype])
    empty = [t[:, :, :0] for t in pool_inputs(dtype)]
    assert maxpool_rescale(*(t.to(device) for t in empty)).shape == (2, 4, 0, 156)
    no_windows = [t[..., :0] if k in (0, 3, 4) else t for k, t in enumerate(pool_inputs(dtype))]
    assert not maxpool_rescale(*(t.to(device) for t in no_windows)).any()
    # All windows have their maximum at one place, which one thread at a time may add to.
    gradient, u, r, _, _ = pool_inputs(dtype)
    indices = [torch.zeros((*t.shape[:-1], gradient.shape[-1]), dtype=torch.int64) for t in (u, r)]
    got = maxpool_rescale(*(t.to(device) for t in (gradient, u, r, *indices)))
    close(got[..., 0], gradient.double().sum(-1), dtype, OP[dtype])
    assert not got[..., 1:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_reduce_equals_the_oracle(dtype: torch.dtype, device: str) -> None:
    for inputs in all_pairs(dtype):
        got = attribution_reduce(*(t.to(device) for t in inputs))
        close(got, reference.attribution_reduce(*(t.double() for t in inputs)), dtype, OP[dtype])


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_the_scale_of_the_values_cancels(scale: float, device: str) -> None:
    gradient, u, r = (t.to(device) for t in pair_inputs((2, 3, (7, 5)), torch.float32))
    for name in ("relu", "leaky_relu", "abs"):
        expected = rescale_multipliers(gradient, u, r, name, PARAMETERS.get(name, ()))
        got = rescale_multipliers(gradient, u * scale, r * scale, name, PARAMETERS.get(name, ()))
        assert torch.equal(got, expected)
        got = rescale_multipliers(gradient * scale, u, r, name, PARAMETERS.get(name, ()))
        assert torch.equal(got, expected * scale)
    assert torch.equal(
        attribution_reduce(gradient / scale, u * scale, r * scale), attribution_reduce(gradient, u, r)
    )
    gradient, u, r, i, j = (t.to(device) for t in pool_inputs(torch.float32))
    assert torch.equal(
        maxpool_rescale(gradient, u * scale, r * scale, i, j), maxpool_rescale(gradient, u, r, i, j)
    )


def relu(*tensors: Tensor) -> Tensor:
    return rescale_multipliers(*tensors, "relu")


@pytest.mark.parametrize("op", [relu, attribution_reduce])
@pytest.mark.parametrize("shared", [True, False])
def test_channels_last_and_strided_inputs(op: Callable[..., Tensor], shared: bool, device: str) -> None:
    inputs = [t.to(device) for t in pair_inputs((3, 4, (5, 6, 7)), torch.float64, shared=shared)]
    expected = op(*inputs)
    last = [t.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3) for t in inputs]
    got = op(*last)
    assert torch.equal(got, expected)
    # In memory the channels stay last: the next op finds what it is used to.
    assert got.movedim(-3, -1).is_contiguous()
    outer = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in last]
    padded = [torch.stack([t, t + 1], dim=-1)[..., 0] for t in inputs]
    sliced = [torch.cat([t, t], dim=1)[:, : t.shape[1]] for t in inputs]
    mixed = [inputs[0], last[1], padded[2]]
    for others in (outer, padded, sliced, mixed, [last[0], inputs[1], last[2]]):
        assert torch.equal(op(*others), expected)
    if not shared:
        expanded = [inputs[0], inputs[1], inputs[2][:, :1].expand_as(inputs[2])]
        assert torch.equal(op(*expanded), op(inputs[0], inputs[1], inputs[2][:, :1]))


def test_maxpool_of_strided_inputs(device: str) -> None:
    inputs = [t.to(device) for t in pool_inputs(torch.float64)]
    expected = maxpool_rescale(*inputs)
    for others in (
        [t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in inputs],
        [t.transpose(0, 1).contiguous().transpose(0, 1) for t in inputs],
        [torch.stack([t, t + 1], dim=-1)[..., 0] for t in inputs],
    ):
        assert torch.equal(maxpool_rescale(*others), expected)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
def test_same_bits_every_time_and_on_any_number_of_threads(device: str) -> None:
    pairs = [t.to(device) for t in pair_inputs((4, 3, (3, 20011)), torch.float32)]
    pools = [t.to(device) for t in pool_inputs(torch.float32, planes=200)]
    calls: list[Callable[[], Tensor]] = [
        lambda: relu(*pairs),
        lambda: rescale_multipliers(*pairs, "gelu"),
        lambda: attribution_reduce(*pairs),
        lambda: relu(*(t[:, :1] for t in pairs)),
        lambda: maxpool_rescale(*pools),
    ]
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = [call() for call in calls]
        for threads in (2, 1):
            torch.set_num_threads(threads)
            assert all(torch.equal(call(), value) for call, value in zip(calls, expected, strict=True))
    finally:
        torch.set_num_threads(n_threads)


def test_nan_comes_out_as_nan() -> None:
    nan = torch.full((1, 1, 40), torch.nan)
    for name in ACTIVATIONS:
        for u, r in ((nan, torch.ones_like(nan)), (torch.ones_like(nan), nan)):
            got = rescale_multipliers(torch.ones_like(nan), u, r, name, PARAMETERS.get(name, ()))
            assert bool(got.isnan().all()), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_does_not_change_along_an_infinite_slope_has_no_multiplier(
    dtype: torch.dtype, device: str
) -> None:
    inf = torch.inf
    for name, ends in {
        **dict.fromkeys(ACTIVATIONS, (-inf, inf)),
        **dict.fromkeys(sorted(POSITIVE), (0.0, inf)),
    }.items():
        u = torch.tensor(ends, dtype=dtype, device=device).repeat(20)[None, None]
        for op in (rescale_multipliers, reference.rescale_multipliers):
            got = op(torch.ones_like(u), u, u.clone(), name, PARAMETERS.get(name, ()))
            assert bool(got.isfinite().all()), name
    for name in ("log", "rsqrt", "sqrt", "reciprocal"):
        u, r = (
            torch.tensor(x, dtype=dtype, device=device).repeat(9)[None, None]
            for x in ([0.0, 0.0], [0.0, 2.0])
        )
        for op in (rescale_multipliers, reference.rescale_multipliers):
            got = op(torch.ones_like(u), u, r, name, ())
            assert not got[..., ::2].any()
            assert bool((got[..., 1::2] != 0).all())
            assert not op(torch.zeros_like(u), u, r, name, ()).any()
            assert not op(torch.zeros_like(u), -r - 1, r, name, ()).any()  # where the function is not defined


@pytest.mark.parametrize("dtype", DTYPES)
def test_maxpool_of_masked_windows(dtype: torch.dtype, device: str) -> None:
    gradient, u, r, *_ = pool_inputs(dtype)
    for values in (u, r):
        values[..., :80] = -torch.inf
    indices = [
        F.max_pool2d_with_indices(t.unflatten(-1, (13, 12)).flatten(0, 1), 3, 2, 1)[1]
        .flatten(-2)
        .unflatten(0, t.shape[:2])
        for t in (u, r)
    ]
    gradient, u, r, *indices = (t.to(device) for t in (gradient, u, r, *indices))
    for op in (maxpool_rescale, reference.maxpool_rescale):
        assert bool(op(gradient, u, r, *indices).isfinite().all())


def bare_calls(requires_grad: bool, device: str) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    for dtype in DTYPES:
        pairs = [t.to(device).requires_grad_(requires_grad) for t in pair_inputs((2, 3, (2, 4)), dtype)]
        strided = [t.detach().mT.requires_grad_(requires_grad) for t in pairs]
        g, u, r, i, j = (t.to(device) for t in pool_inputs(dtype))
        pools = [t.requires_grad_(requires_grad) for t in (g, u, r)]
        yield ops.rescale_multipliers.default, (*pairs, "hardtanh", [0.0, 1.0])
        yield ops.rescale_multipliers.default, (*strided, "relu", [])
        yield ops.maxpool_rescale.default, (*pools, i, j)
        yield ops.attribution_reduce.default, tuple(pairs)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(requires_grad: bool, device: str) -> None:
    for op, arguments in bare_calls(requires_grad, device):
        opcheck(op, arguments)


def test_is_not_differentiable_and_changes_no_input() -> None:
    for op, arguments in bare_calls(True, "cpu"):
        before = [t.clone() for t in arguments if isinstance(t, Tensor)]
        assert not op(*arguments).requires_grad
        after = [t for t in arguments if isinstance(t, Tensor)]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_compiles_without_graph_breaks() -> None:
    pairs, pools = pair_inputs((2, 3, (4, 5, 2)), torch.float32), pool_inputs(torch.float32)
    last = tuple(t.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3) for t in pairs)
    for function, arguments in (
        (relu, pairs),
        (relu, last),
        (attribution_reduce, last),
        (maxpool_rescale, pools),
    ):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(*arguments), function(*arguments))


def test_python_and_the_kernels_know_the_same_activations() -> None:
    listed = re.findall(r"^  X\((\w+), (\d),", HEADER.read_text(), re.MULTILINE)
    assert {name: int(number) for name, number in listed} == {
        name: _N_PARAMETERS.get(name, 0) for name in ACTIVATIONS
    }


@pytest.mark.skipif(not has_native(), reason="the references are not called bare")
@pytest.mark.parametrize("op", ["rescale_multipliers", "maxpool_rescale", "attribution_reduce"])
def test_the_bare_op_refuses_what_does_not_fit(op: str) -> None:
    bare = getattr(ops, op).default
    tensors = list(
        pool_inputs(torch.float32) if op == "maxpool_rescale" else pair_inputs((2, 3, (4,)), DTYPES[0])
    )
    extra: list[Any] = ["relu", []] if op == "rescale_multipliers" else []
    bare(*tensors, *extra)
    for k, tensor in enumerate(tensors):
        for wrong in (
            tensor[..., :-1],
            tensor[0],
            tensor.to(torch.int32),
            tensor.repeat(3, *[1] * (tensor.ndim - 1)),
        ):
            changed = [*tensors[:k], wrong, *tensors[k + 1 :]]
            with pytest.raises(RuntimeError, match="argument"):
                bare(*changed, *extra)
    if extra:
        with pytest.raises(RuntimeError, match="'activation' argument is unknown. Got 'rellu'"):
            bare(*tensors, "rellu", [])
        with pytest.raises(
            RuntimeError, match="'parameters' argument must hold 1 numbers for 'leaky_relu'. Got 0"
        ):
            bare(*tensors, "leaky_relu", [])

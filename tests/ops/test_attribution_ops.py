"""DeepLIFT's backward ops: what goes in comes out, whatever the shapes, strides and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lvlm_va.ops._attribution import ACTIVATIONS, attribution_reduce, maxpool_rescale, rescale_multipliers
from tests.ops.samples import PARAMETERS, POSITIVE
from tests.tolerances import OP

FUNCTIONS: dict[str, Any] = {
    "abs": torch.abs,
    "elu": lambda x, alpha, scale, input_scale: (
        scale * (x.clamp(min=0) + alpha * torch.expm1(input_scale * x.clamp(max=0)))
    ),
    "erf": torch.erf,
    "exp": torch.exp,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "hardtanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "log": torch.log,
    "mish": F.mish,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
}


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def values(name: str, *shape: int, seed: int, scale: float, dtype: torch.dtype) -> Tensor:
    drawn = normal(*shape, seed=seed) * scale
    return (drawn.abs() + 0.1 if name in POSITIVE else drawn).to(dtype)


def test_every_activation_is_tested() -> None:
    assert set(FUNCTIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("dtype", OP, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(deadline=None, derandomize=True, max_examples=6)
@given(scale=st.sampled_from([1e-4, 0.3, 3.0, 30.0]), shared=st.booleans(), seed=st.integers(0, 99))
def test_rescale_is_complete(name: str, dtype: torch.dtype, scale: float, shared: bool, seed: int) -> None:
    parameters = PARAMETERS.get(name, ())
    u = values(name, 1, 3, 5, 2, seed=seed, scale=scale, dtype=dtype)
    r = values(name, 4, 1 if shared else 3, 5, 2, seed=seed + 1, scale=scale, dtype=dtype)
    multipliers = rescale_multipliers(torch.ones(4, 3, 5, 2, dtype=dtype), u, r, name, parameters)
    assert multipliers.dtype == dtype
    assert bool(multipliers.isfinite().all())
    f_u, f_r = FUNCTIONS[name](u, *parameters), FUNCTIONS[name](r, *parameters)
    # The change of f is known up to the rounding of f itself.
    rtol, _ = OP[dtype]
    size = (f_u.abs() + f_r.abs() + (u - r).abs()).max()
    assert float((multipliers * (u - r) - (f_u - f_r)).abs().max()) <= rtol * float(size)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rescale_against_its_float64_oracle(name: str) -> None:
    # Near and far pairs: the oracle is the plain quotient where it has digits, in float64.
    parameters = PARAMETERS.get(name, ())
    u = values(name, 1, 2, 50, seed=0, scale=2.0, dtype=torch.float64).float()
    for gap in (1.0, 0.1, 1e-2, 1e-3, 1e-4):
        r = (u.double() * (1 + gap)).float()
        expected = (FUNCTIONS[name](u.double(), *parameters) - FUNCTIONS[name](r.double(), *parameters)) / (
            u.double() - r.double()
        )
        got = rescale_multipliers(torch.ones_like(u), u, r, name, parameters)
        rtol, atol = OP[torch.float32]
        torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=10 * atol)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rescale_is_the_derivative_where_nothing_changes(name: str) -> None:
    parameters = PARAMETERS.get(name, ())
    u = values(name, 1, 2, 20, seed=3, scale=2.0, dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(FUNCTIONS[name](u, *parameters).sum(), u)
    got = rescale_multipliers(torch.ones_like(u), u.detach(), u.detach().clone(), name, parameters)
    rtol, atol = OP[torch.float64]
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - POSITIVE - {"exp", "elu"}))
def test_rescale_stays_finite_at_the_ends_of_float32(name: str) -> None:
    u, r = torch.tensor([[[1e4, -1e4, 1e-30, 0.0, -0.0]]]), torch.tensor([[[-1e4, 1e4, -1e-30, 0.0, 0.0]]])
    multipliers = rescale_multipliers(torch.ones_like(u), u, r, name, PARAMETERS.get(name, ()))
    assert bool(multipliers.isfinite().all())


@settings(deadline=None, derandomize=True, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 999), shared=st.booleans(), ties=st.booleans())
def test_maxpool_is_complete(data: st.DataObject, seed: int, shared: bool, ties: bool) -> None:
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "kernel")
    options = {
        "stride": data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)), "stride"),
        "padding": tuple(data.draw(st.integers(0, k // 2), "padding") for k in kernel),
        "dilation": data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), "dilation"),
        "ceil_mode": data.draw(st.booleans(), "ceil_mode"),
    }
    u, r = normal(1, 3, 2, 9, 8, seed=seed), normal(4, 1 if shared else 3, 2, 9, 8, seed=seed + 1)
    if ties:
        u, r = u.round().relu(), r.round().relu()

    def pool(x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, indices = F.max_pool2d_with_indices(x.flatten(0, 1), kernel, **options)
        return (t.flatten(-2).unflatten(0, x.shape[:2]) for t in (pooled, indices))

    (pooled_u, indices_u), (pooled_r, indices_r) = pool(u), pool(r)
    grad = normal(4, 3, 2, pooled_u.shape[-1], seed=seed + 2)
    multipliers = maxpool_rescale(grad, u.flatten(-2), r.flatten(-2), indices_u, indices_r)
    into = (multipliers * (u - r).flatten(-2)).sum((-2, -1))
    out = (grad * (pooled_u - pooled_r)).sum((-2, -1))
    rtol, atol = OP[torch.float64]
    torch.testing.assert_close(into, out, rtol=rtol, atol=atol)
    ones = maxpool_rescale(torch.ones_like(grad), u.flatten(-2), r.flatten(-2), indices_u, indices_r)
    assert float(ones.min()) >= 0


def test_maxpool_is_the_gradient_where_nothing_changes() -> None:
    u = normal(1, 2, 3, 36, seed=0).requires_grad_()
    pooled, indices = F.max_pool1d_with_indices(u.flatten(0, 1), 3, 1, 1)
    grad = normal(1, 2, 3, 36, seed=1)
    (expected,) = torch.autograd.grad(pooled.view_as(grad), u, grad)
    indices = indices.view_as(grad)
    got = maxpool_rescale(grad, u.detach(), u.detach().clone(), indices, indices)
    torch.testing.assert_close(got, expected)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    n=st.integers(1, 4),
    n_references=st.integers(1, 5),
    shared=st.booleans(),
    shape=st.lists(st.integers(1, 4), max_size=3),
)
def test_reduce(n: int, n_references: int, shared: bool, shape: list[int]) -> None:
    multipliers, images = normal(n_references, n, *shape, seed=0), normal(1, n, *shape, seed=1)
    references = normal(n_references, 1 if shared else n, *shape, seed=2)
    before = multipliers.clone(), images.clone(), references.clone()
    expected = torch.stack([(images[0] - r) * m for r, m in zip(references, multipliers, strict=True)]).mean(
        0
    )
    rtol, atol = OP[torch.float64]
    torch.testing.assert_close(
        attribution_reduce(multipliers, images, references), expected, rtol=rtol, atol=atol
    )
    assert all(torch.equal(a, b) for a, b in zip(before, (multipliers, images, references), strict=True))


def test_non_contiguous_tensors() -> None:
    u, r, grad = normal(1, 3, 4, 5, seed=0), normal(2, 1, 4, 5, seed=1), normal(2, 3, 4, 5, seed=2)
    expected = rescale_multipliers(grad, u, r, "relu")
    strided = [t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (grad, u, r)]
    assert torch.equal(rescale_multipliers(*strided, "relu"), expected)


U, R, GRAD = normal(1, 3, 4, seed=0), normal(2, 1, 4, seed=1), normal(2, 3, 4, seed=2)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((GRAD, U, R, "rellu"), ValueError, "'activation' argument must be one of.*Did you mean 'relu'"),
        (
            (GRAD, U, R, "hardtanh"),
            ValueError,
            "'parameters' argument must hold 2 numbers for 'hardtanh'. Got 0",
        ),
        ((GRAD, U, R, "relu", (1.0,)), ValueError, "'parameters' argument must hold 0 numbers"),
        (
            (GRAD.numpy(), U, R, "relu"),
            TypeError,
            "'grad_output' argument must be a float32 or float64 tensor",
        ),
        ((GRAD, U.half(), R, "relu"), TypeError, "'input' argument .*Got dtype float16"),
        ((GRAD, U, R.float(), "relu"), TypeError, "'reference' argument must be in torch.float64"),
        ((GRAD, U.repeat(2, 1, 1), R, "relu"), ValueError, r"'input' argument must have shape \(1, n"),
        ((GRAD, U, R[..., 1:], "relu"), ValueError, r"'reference' argument must have shape \('B', '1 or 3'"),
        (
            (GRAD[..., 0], U[..., 0], R[:, 0, 0], "relu"),
            ValueError,
            r"'reference' .*Got shape \(2,\) instead",
        ),
        ((GRAD[:, 1:], U, R, "relu"), ValueError, r"'grad_output' argument must have shape \('2 or 1', 3"),
        (
            (GRAD[..., 1:], U, R, "relu"),
            ValueError,
            r"'grad_output' argument must have shape \('2 or 1', 3, 4",
        ),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        rescale_multipliers(*arguments)


def test_bad_indices() -> None:
    good = torch.zeros(1, 3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"'reference_indices' argument .*\(2, 1, 2\).*Got torch.int64"):
        maxpool_rescale(GRAD[..., :2], U, R, good, good)
    for bad in (-1, 4, 2**62):
        wrong = torch.tensor([[[0, bad]]]).repeat(2, 1, 1)
        with pytest.raises(ValueError, match=rf"'reference_indices' .* \[0, 4\).*Got {bad} instead"):
            maxpool_rescale(GRAD[..., :2], U, R, good, wrong)
    with pytest.raises(ValueError, match=r"'input_indices' .*int64 tensor.*Got torch.int32"):
        maxpool_rescale(GRAD[..., :2], U, R, good.int(), good.repeat(2, 1, 1)[:, :1])
    with pytest.raises(ValueError, match=r"'grad_output'.*\(references, images, \*rest, last\).*Got shape"):
        maxpool_rescale(GRAD[..., 0], U[..., 0], R[..., 0], good[..., 0], good[..., 0])

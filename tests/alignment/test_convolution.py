from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from lvlm_va.alignment.affine_calls import read_affine_call
from lvlm_va.alignment.convolution import GatheringConvolution, InputGradient
from tests.tolerances import OP

TOLERANCE = dict(zip(("rtol", "atol"), OP[torch.float64], strict=True))
CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


@st.composite
def convolutions(
    draw: st.DrawFn,
) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor | None, dict[str, Any]]:
    n_dims, transposed, groups = draw(st.integers(1, 3)), draw(st.booleans()), draw(st.integers(1, 2))
    sizes = st.lists(st.integers(1, 3), min_size=n_dims, max_size=n_dims)
    kernel, stride, dilation = draw(sizes), draw(sizes), draw(sizes)
    padding = [draw(st.integers(0, size - 1)) for size in kernel]
    extent = [d * (k - 1) + draw(st.integers(2, 4)) for d, k in zip(dilation, kernel, strict=True)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    ins, outs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    shape = (ins, outs // groups, *kernel) if transposed else (outs, ins // groups, *kernel)
    x, weight, bias = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((2, ins, *extent), shape, (outs,))
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        options["output_padding"] = [min(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
    func = (TRANSPOSED if transposed else CONVOLUTIONS)[n_dims]
    return func, x, weight, draw(st.sampled_from([bias, None])), options


@settings(deadline=None, max_examples=60)
@given(convolutions())
def test_derivatives_are_torchs(case: tuple[Any, ...]) -> None:
    func, x, weight, bias, options = case
    x, weight = x.requires_grad_(), weight.requires_grad_()
    call = read_affine_call(func, (x, weight, bias), options)
    expected = func(x, weight, bias, **options)
    y, _ = GatheringConvolution.apply(x, weight, bias, call.convolution, [])
    torch.testing.assert_close(y, expected, **TOLERANCE)

    grad = torch.randn_like(expected).requires_grad_()
    (theirs,) = torch.autograd.grad(expected, x, grad, create_graph=True)
    ours = InputGradient.apply(grad, weight, None, x.detach(), call.convolution, None)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)

    direction = torch.randn_like(x)
    second = torch.autograd.grad(theirs, (grad, weight), direction)
    torch.testing.assert_close(torch.autograd.grad(ours, (grad, weight), direction), second, **TOLERANCE)


@settings(deadline=None, max_examples=20)
@given(convolutions())
def test_terms_are_added_to_the_weights_gradient(case: tuple[Any, ...]) -> None:
    func, x, weight, bias, options = case
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    settings, terms = read_affine_call(func, (x, weight, bias), options).convolution, []
    y, link = GatheringConvolution.apply(x, weight, bias, settings, terms)
    # The link comes to stand in the input gradient's graph, so that its terms are there in time.
    ours = InputGradient.apply(torch.ones_like(y), weight, link, x.detach(), settings, terms)
    expected = func(x, weight, bias, **options)
    (theirs,) = torch.autograd.grad(expected.sum(), x, create_graph=True)
    for _ in range(2):
        found = torch.autograd.grad(y.square().sum() + ours.square().sum(), leaves, retain_graph=True)
        assert not terms
        wanted = torch.autograd.grad(
            expected.square().sum() + theirs.square().sum(), leaves, retain_graph=True
        )
        torch.testing.assert_close(found, wanted, **TOLERANCE)


def test_derivatives_are_those_that_differences_show() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(2, 4, 5, 5, generator=generator, dtype=torch.float64).requires_grad_() for _ in "xw"
    )
    weight = weight[:, :2, :3, :3].detach().requires_grad_()
    weight = torch.cat([weight, weight]).detach().requires_grad_()
    settings = read_affine_call(
        torch.conv2d, (x, weight), {"stride": 2, "padding": 1, "groups": 2}
    ).convolution

    def output(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return GatheringConvolution.apply(x, weight, None, settings, [])[0]

    grad = torch.randn_like(output(x, weight)).requires_grad_()
    assert torch.autograd.gradcheck(output, (x, weight))
    assert torch.autograd.gradcheck(
        lambda grad, weight: InputGradient.apply(grad, weight, None, x.detach(), settings, None),
        (grad, weight),
    )

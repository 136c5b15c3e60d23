"""The penalty: its value against the oracle, its derivatives, its dispatch, and its errors."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from lvlm_va.ops import masked_gradient_penalty
from lvlm_va.ops.reference import masked_gradient_penalty as reference
from tests.ops.samples import DTYPES, NOT_EMULATED, penalty_inputs
from tests.tolerances import OP

SHAPES = [(4, 3, 8, 8), (2, 1, 7, 13), (1, 1, 1, 1), (3, 2, 65), (5, 4)]
EMPTY_SHAPES = [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)]
backward = torch.ops.lvlm_va.masked_gradient_penalty_backward.default


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES + EMPTY_SHAPES)
def test_equals_the_oracle(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    gradient, mask = penalty_inputs(shape, dtype)
    output = torch.linspace(-1, 2, shape[0], dtype=dtype)
    rtol, atol = OP[dtype]
    penalty = masked_gradient_penalty(gradient.to(device), mask.to(device))
    expected = reference.masked_gradient_penalty(gradient.double(), mask.double())
    torch.testing.assert_close(penalty.cpu(), expected.to(dtype), rtol=rtol, atol=atol)
    derivative = backward(output.to(device), gradient.to(device), mask.to(device))
    expected = reference.masked_gradient_penalty_backward(output.double(), gradient.double(), mask.double())
    torch.testing.assert_close(derivative.cpu(), expected.to(dtype), rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, 1e17), (torch.float32, 1e-17), (torch.float64, 1e150), (torch.float64, 1e-150)],
)
def test_huge_and_tiny_gradients(dtype: torch.dtype, scale: float, device: str) -> None:
    gradient, mask = penalty_inputs((2, 3, 9, 9), dtype, scale)
    expected = reference.masked_gradient_penalty(gradient, mask)
    assert bool(((expected > 0) & expected.isfinite()).all())
    penalty = masked_gradient_penalty(gradient.to(device), mask.to(device))
    torch.testing.assert_close(penalty.cpu(), expected, rtol=OP[dtype][0], atol=0)


def test_strided_and_channels_last_inputs(device: str) -> None:
    gradient, mask = penalty_inputs((3, 4, 6, 10), torch.float64)
    gradient, mask = gradient.to(device), mask.to(device)
    expected = masked_gradient_penalty(gradient, mask)
    output = torch.ones(3, dtype=torch.float64, device=device)
    expected_derivative = backward(output, gradient, mask)
    strided_mask = mask.transpose(1, 2).contiguous().transpose(1, 2)
    padded = torch.zeros((3, 4, 6, 20), dtype=torch.float64, device=device)
    padded[..., ::2] = gradient
    for other in (gradient.to(memory_format=torch.channels_last), padded[..., ::2]):
        assert not other.is_contiguous()
        assert torch.equal(masked_gradient_penalty(other, strided_mask), expected)
        derivative = backward(output.new_ones(1).expand(3), other, strided_mask)
        assert torch.equal(derivative, expected_derivative)
        assert derivative.is_contiguous()


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
def test_gradcheck_and_gradgradcheck(device: str) -> None:
    gradient, mask = (tensor.to(device) for tensor in penalty_inputs((2, 3, 3, 4), torch.float64))
    gradient.requires_grad_()
    assert gradcheck(lambda g: masked_gradient_penalty(g, mask), (gradient,))
    assert gradgradcheck(lambda g: masked_gradient_penalty(g, mask), (gradient,))
    output = torch.rand(2, dtype=torch.float64, device=device, requires_grad=True)
    assert gradcheck(lambda o, g: backward(o, g, mask), (output, gradient))
    assert gradgradcheck(lambda o, g: backward(o, g, mask), (output, gradient))


def test_trains_through_the_gradient_of_a_net() -> None:
    images, mask = penalty_inputs((2, 1, 4, 4), torch.float64)
    weight = torch.linspace(-1, 1, 16, dtype=torch.float64, requires_grad=True)

    def loss(penalty: object) -> torch.Tensor:
        x = images.detach().requires_grad_()
        logits = torch.tanh(x.flatten(1) * weight).sum()
        (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
        return penalty(gradient, mask).sum()  # type: ignore[operator]

    (native,) = torch.autograd.grad(loss(masked_gradient_penalty), weight)
    (plain,) = torch.autograd.grad(loss(lambda g, m: (g * m.unsqueeze(1)).square().flatten(1).sum(1)), weight)
    torch.testing.assert_close(native, plain, rtol=OP[torch.float64][0], atol=OP[torch.float64][1])


def test_mask_gets_no_derivative() -> None:
    gradient, mask = penalty_inputs((2, 3, 4, 4), torch.float64)
    mask.requires_grad_()
    penalty = masked_gradient_penalty(gradient.requires_grad_(), mask).sum()
    assert torch.autograd.grad(penalty, mask, allow_unused=True) == (None,)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(requires_grad: bool, device: str) -> None:
    for dtype, shape in ((torch.float32, (2, 3, 4, 5)), (torch.float64, (0, 1, 2, 2))):
        gradient, mask = (tensor.to(device) for tensor in penalty_inputs(shape, dtype))
        output = torch.ones(shape[0], dtype=dtype, device=device, requires_grad=requires_grad)
        gradient.requires_grad_(requires_grad)
        opcheck(torch.ops.lvlm_va.masked_gradient_penalty.default, (gradient, mask))
        opcheck(backward, (output, gradient, mask))


def test_compiles_without_graph_breaks() -> None:
    gradient, mask = penalty_inputs((2, 3, 4, 5), torch.float64)

    def value_and_slope(g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        penalty = masked_gradient_penalty(g, mask)
        return penalty, penalty.sum()

    compiled = torch.compile(value_and_slope, fullgraph=True, backend="aot_eager")
    inputs = [gradient.clone().requires_grad_() for _ in range(2)]
    outputs = [function(g) for function, g in zip((compiled, value_and_slope), inputs, strict=True)]
    for output in outputs:
        output[1].backward()
    assert torch.equal(outputs[0][0], outputs[1][0])
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


@pytest.mark.parametrize(
    ("gradient", "mask", "error", "message"),
    [
        (
            [1.0],
            torch.ones(1),
            TypeError,
            r"'gradient' argument must be a float32 or float64.*Got list",
        ),
        (torch.ones(2, 3), [1.0], TypeError, r"'mask' argument must be.*Got list"),
        (torch.ones(2, 3).half(), torch.ones(2), TypeError, r"'gradient'.*Got dtype float16 instead"),
        (torch.ones(2, 3), torch.ones(2).bool(), TypeError, r"'mask'.*Got dtype bool instead"),
        (torch.ones(2, 3), torch.ones(2).double(), TypeError, r"dtype of 'gradient', torch.float32.*convert"),
        (torch.ones(2), torch.ones(2), ValueError, r"'gradient'.*\(n, C, \*spatial\).*Got shape \(2,\)"),
        (torch.ones(2, 3, 4), torch.ones(2, 3), ValueError, r"'mask'.*shape \(2, 4\).*Got \(2, 3\) instead"),
        (torch.ones(2, 3, device="meta"), torch.ones(2), ValueError, r"'mask'.*device of 'gradient', meta"),
    ],
)
def test_errors(gradient: torch.Tensor, mask: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        masked_gradient_penalty(gradient, mask)


def test_the_bare_op_refuses_what_does_not_fit() -> None:
    op = torch.ops.lvlm_va.masked_gradient_penalty.default
    for gradient, mask in ((torch.ones(2, 3, 4), torch.ones(2, 5)), (torch.ones(2, 3, 4), torch.ones(3, 4))):
        with pytest.raises(RuntimeError):
            op(gradient, mask)

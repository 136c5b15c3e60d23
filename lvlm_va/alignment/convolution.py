"""A convolution's derivatives, each by the primitive made for it.

``y``, the gradient in ``x`` and the gradient in the weight are the three derivatives of one trilinear form, so each is
differentiated by the others. torch does so too, but takes the weight's share of the second derivative as a
convolution with a kernel as large as the image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lvlm_va.alignment.affine_calls import ConvolutionSettings


class DifferentiatedAgainError(RuntimeError):
    """A derivative was to be differentiated that cannot be."""

    def __init__(self) -> None:
        super().__init__(
            "The loss of an alignment batch can be differentiated once. Got a backward with create_graph=True."
        )


# Pairs of (output gradient, input) whose products are the weight's gradient.
WeightTerms = list[tuple[Tensor, Tensor]]


class GatheringConvolution(Function):
    """A convolution that adds later terms to its weight's gradient in one go.

    Where the weight is larger than the input, reading and writing it is what its gradient costs, so the terms that
    `InputGradient` finds are gathered first. Returns the output and an empty tensor: whoever takes
    the latter as an input is differentiated before this is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        settings: ConvolutionSettings,
        terms: WeightTerms,
    ) -> tuple[Tensor, Tensor]:
        """Return the output and the link."""
        ctx.save_for_backward(x, weight)
        ctx.settings, ctx.terms = settings, terms
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return torch.convolution(x, weight, bias, *settings), x.new_empty(0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, link: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in input, weight and bias."""
        # Not once_differentiable: it says nothing where the engine need not go through the node it adds.
        if torch.is_grad_enabled():
            raise DifferentiatedAgainError
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad[:3]
        terms = list(ctx.terms)
        ctx.terms.clear()
        together = by_weight and not terms
        gradients: list[Tensor | None] = [None, None, None]
        if by_x or by_bias or together:
            gradients = list(
                torch.ops.aten.convolution_backward(
                    grad, x, weight, ctx.bias_sizes, *ctx.settings, [by_x, together, by_bias]
                )
            )
        if by_weight and terms:
            grads, inputs = (torch.cat(parts) for parts in zip((grad, x), *terms, strict=True))
            gradients[1] = _weight_gradient(grads, inputs, weight, ctx.settings)
        return *gradients, None, None


class InputGradient(Function):
    """The gradient of a convolution in its input, differentiable once.

    With `terms`, the weight's share of the derivative goes there instead of to the weight.
    """

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        weight: Tensor,
        link: Tensor | None,
        like: Tensor,
        settings: ConvolutionSettings,
        terms: WeightTerms | None,
    ) -> Tensor:
        """Return the gradient, of the shape of `like`."""
        ctx.save_for_backward(grad, weight)
        ctx.settings, ctx.terms = settings, terms
        gradient: Tensor = torch.ops.aten.convolution_backward(
            grad, like, weight, None, *settings, [True, False, False]
        )[0]
        return gradient

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives in the output's gradient and in the weight."""
        if torch.is_grad_enabled():
            raise DifferentiatedAgainError
        grad, weight = ctx.saved_tensors
        by_grad = by_weight = None
        if ctx.needs_input_grad[0]:
            by_grad = torch.convolution(direction, weight, None, *ctx.settings)
        if ctx.needs_input_grad[1]:
            if ctx.terms is None:
                by_weight = _weight_gradient(grad, direction, weight, ctx.settings)
            else:
                ctx.terms.append((grad.detach(), direction))
        return by_grad, by_weight, None, None, None, None


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, settings: ConvolutionSettings) -> Tensor:
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *settings, [False, True, False]
    )[1]
    return gradient

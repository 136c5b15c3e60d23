"""Forward all rows of a batch together, and differentiate the marked ones in their input without a second forward.

All rows are forwarded as in plain training. Then the module runs once more on the marked rows, which alone depend on
their images; there each convolution, linear map and frozen batch normalisation takes its result from the first
run. So the input gradient, and the second derivatives, cost the marked rows alone, and no product is done twice.

In the second run such a result has two parents that stand for the same values: its own input, down which the
input gradient goes, and the first run, down which the gradient of the loss goes, to be carried on for all rows
together. A call is only met so where it is the same map of the same values, up to rounding; any other runs as it
is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from lvlm_va.alignment.affine_calls import AFFINE, AffineCall, read_affine_call
from lvlm_va.alignment.convolution import (
    DifferentiatedAgainError,
    GatheringConvolution,
    InputGradient,
    WeightTerms,
)
from lvlm_va.alignment.penalty import input_gradient
from lvlm_va.modules.logits import forward_logits

# Elementwise functions round the last few values of a tensor in another way: by some eps of the largest value.
ROUNDING = 16

_DROPOUTS = frozenset({F.dropout, F.dropout1d, F.dropout2d, F.dropout3d})


def forward_shared(module: nn.Module, images: Tensor, n_marked: int) -> tuple[Tensor, Tensor, bool] | None:
    """Return logits of all rows and input gradients of the last ones.

    Parameters
    ----------
    module : torch.nn.Module
        Must not mix rows.
    images : Tensor of shape (n, C, *spatial)
        A batch on the CPU, the marked rows last.
    n_marked : int
        How many of them are differentiated.

    Returns
    -------
    logits : Tensor of shape (n, K)
        With their graph.
    gradient : Tensor of shape (n_marked, C, *spatial)
        ``d/dx sum_k log softmax(logits)_k`` with its graph, which is differentiable once in the parameters.
    saved : bool
        Whether all convolutions (one at least), linear maps and batch normalisations of the second run could be
        taken from the first. If not, the result is as right, but two forwards apart are faster.

    None stands for all of them where the module's own forward differentiates, which does not go together.
    """
    sharing = _Sharing(len(images), n_marked)
    try:
        return _forward_twice(module, images, sharing)
    except DifferentiatedAgainError:
        return None


def _forward_twice(module: nn.Module, images: Tensor, sharing: _Sharing) -> tuple[Tensor, Tensor, bool]:
    with _FirstRun(sharing):
        logits = forward_logits(module, images)
    marked = sharing.marked(images).detach().clone().requires_grad_()
    with _SecondRun(sharing):
        again = forward_logits(module, marked)
    sharing.forwarded = True
    gradient = input_gradient(again, marked)
    sharing.input_gradient_taken = True
    saved = sharing.convolved and not sharing.missed and not sharing.recorded
    return logits, gradient, saved


@dataclass(eq=False)
class _Recorded:
    """A call of the first run: its inputs and results in the marked rows."""

    func: Callable[..., Any]
    result: Tensor
    call: AffineCall | None = None
    x: Tensor | None = None
    link: Tensor | None = None
    terms: WeightTerms | None = None


@dataclass(eq=False)
class _Sharing:
    """What both runs know of each other."""

    n_rows: int
    n_marked: int
    recorded: deque[_Recorded] = field(default_factory=deque)
    convolved: bool = False
    missed: bool = False
    forwarded: bool = False
    input_gradient_taken: bool = False

    def marked(self, tensor: Tensor) -> Tensor:
        """Return the marked rows of a tensor of all rows."""
        return tensor[self.n_rows - self.n_marked :]

    def next(self, func: Callable[..., Any]) -> _Recorded | None:
        """Take the recorded call whose turn it is."""
        return self.recorded.popleft() if self.recorded and self.recorded[0].func is func else None


class _Run(TorchFunctionMode, ABC):
    """Meet affine calls and dropout."""

    def __init__(self, sharing: _Sharing) -> None:
        super().__init__()
        self.sharing = sharing

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call."""
        kwargs = kwargs or {}
        result = NotImplemented
        if func in _DROPOUTS:
            result = self._drop(func, *args, **kwargs)
        elif func in AFFINE:
            call = read_affine_call(func, args, kwargs)
            if call is not None:
                result = self.affine(func, call, lambda: func(*args, **kwargs))
            self.sharing.missed |= result is NotImplemented
        return func(*args, **kwargs) if result is NotImplemented else result

    def _drop(
        self,
        func: Callable[..., Any],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Any:
        noise = self.noise(func, input, p) if training else None
        self.sharing.missed |= training and noise is None
        if noise is None:
            return NotImplemented
        return input.mul_(noise) if inplace else input * noise

    @abstractmethod
    def affine(self, func: Callable[..., Any], call: AffineCall, run: Callable[[], Tensor]) -> Any:
        """Return the result, or NotImplemented where the call is none of ours."""

    @abstractmethod
    def noise(self, func: Callable[..., Any], x: Tensor, p: float) -> Tensor | None:
        """Return what dropout multiplies with, or None where that is not ours."""


class _FirstRun(_Run):
    """Note the calls, with their results in the marked rows."""

    def affine(self, func: Callable[..., Any], call: AffineCall, run: Callable[[], Tensor]) -> Any:
        """Run and note a call."""
        if not _can_share(self.sharing.n_rows, call.x, call.weight, call.bias):
            return NotImplemented
        link: Tensor | None = None
        terms: WeightTerms | None = None
        if call.convolution is not None and _is_large(call.weight, call.x):
            terms = []
            result, link = GatheringConvolution.apply(call.x, call.weight, call.bias, call.convolution, terms)
        else:
            result = run()
        x = self.sharing.marked(call.x.detach())
        # A copy, because the module may go on to change the result in place.
        marked = self.sharing.marked(result).clone()
        self.sharing.recorded.append(_Recorded(func, marked, call, x, link, terms))
        self.sharing.convolved |= call.convolution is not None
        return result

    def noise(self, func: Callable[..., Any], x: Tensor, p: float) -> Tensor | None:
        """Draw and note it."""
        if not _can_share(self.sharing.n_rows, x):
            return None
        noise: Tensor = func(torch.ones_like(x), p, True)
        self.sharing.recorded.append(_Recorded(func, self.sharing.marked(noise)))
        return noise


class _SecondRun(_Run):
    """Take results from the first run."""

    def affine(self, func: Callable[..., Any], call: AffineCall, run: Callable[[], Tensor]) -> Any:
        """Take the result of the same call."""
        first = self.sharing.next(func)
        if (
            first is None
            or first.call is None
            or first.x is None
            or not _can_share(self.sharing.n_marked, call.x, call.weight, call.bias)
            or not first.call.same_map(call)
            or not _is_close(call.x, first.x)
        ):
            return NotImplemented
        return _Taken.apply(call.x, first.result, call.weight, first.link, call, first.terms, self.sharing)

    def noise(self, func: Callable[..., Any], x: Tensor, p: float) -> Tensor | None:
        """Take the marked rows of the same noise."""
        first = self.sharing.next(func)
        return None if first is None or first.result.shape != x.shape else first.result


class _Taken(Function):
    """A result of the first run in place of the call in the second."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        result: Tensor,
        weight: Tensor | None,
        link: Tensor | None,
        call: AffineCall,
        terms: WeightTerms | None,
        sharing: _Sharing,
    ) -> Tensor:
        """Return the result."""
        ctx.mark_dirty(result)
        ctx.save_for_backward(weight, link)
        ctx.set_materialize_grads(False)
        ctx.call, ctx.terms, ctx.sharing = call, terms, sharing
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        """Carry the input gradient to the input, any later gradient to the first run."""
        if not ctx.sharing.forwarded:
            raise DifferentiatedAgainError
        by_x = by_result = None
        if ctx.sharing.input_gradient_taken:
            by_result = None if grad is None or _is_zero(grad) else grad
        elif grad is not None:
            weight, link = ctx.saved_tensors
            by_x = _input_gradient(grad, weight, link, ctx.call, ctx.terms)
        return by_x, by_result, None, None, None, None, None


def _input_gradient(
    grad: Tensor, weight: Tensor | None, link: Tensor | None, call: AffineCall, terms: WeightTerms | None
) -> Tensor:
    gradient: Tensor
    if call.convolution is not None:
        gradient = InputGradient.apply(grad, weight, link, call.x.detach(), call.convolution, terms)
    elif call.statistics is not None:
        _, variance, eps = call.statistics
        scale = (variance + eps).rsqrt()
        if weight is not None:
            scale = scale * weight
        gradient = grad * scale.view(-1, *[1] * (grad.ndim - 2))
    else:
        gradient = grad if weight is None else grad @ weight
    return gradient


def _is_large(weight: Tensor | None, x: Tensor) -> bool:
    return weight is not None and weight.requires_grad and weight.numel() > x.numel()


def _is_close(x: Tensor, other: Tensor) -> bool:
    if x.shape != other.shape or torch.equal(x, other):
        return x.shape == other.shape
    limit = ROUNDING * torch.finfo(x.dtype).eps * other.abs().max()
    return bool((x - other).abs().max() <= limit)


def _is_zero(grad: Tensor) -> bool:
    # So comes a rectifier's second derivative; in the first run it would cost all rows a pass.
    lowest, highest = grad.aminmax()
    return bool(lowest == 0) and bool(highest == 0)


def _can_share(n_rows: int, x: Tensor, *parameters: Tensor | None) -> bool:
    """Whether rows are rows here, and nothing but autograd as usual watches the call."""
    return (
        all(type(tensor) in (Tensor, nn.Parameter) for tensor in (x, *parameters) if tensor is not None)
        and x.is_floating_point()
        and x.shape[:1] == (n_rows,)
        and not torch.is_autocast_enabled(x.device.type)
        # torch.func's transforms, and torch.utils.checkpoint, which runs the calls again where no mode meets them.
        and not torch._C._are_functorch_transforms_active()
        and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    )

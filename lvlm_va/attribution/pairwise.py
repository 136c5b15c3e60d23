"""Autograd functions whose backward carries multipliers between an image and a reference.

Forward they compute what the module computes. Backward they run under `torch.func.vmap` over references: the
images' values are plain tensors, the references' are batched, and the multipliers they return are too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lvlm_va.attribution.tape import Tape
from lvlm_va.ops import maxpool_rescale, rescale_multipliers


class AllPairs(torch.autograd.Function):
    """Call an op face once for all references: the bridge from vmap's view to physical tensors."""

    @staticmethod
    def forward(op: Callable[..., Tensor], extra: tuple[Any, ...], *tensors: Tensor) -> Tensor:
        """Call the op for one reference."""
        return op(*(tensor.unsqueeze(0) for tensor in tensors), *extra).squeeze(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing: there is no second derivative."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        op: Callable[..., Tensor],
        extra: tuple[Any, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, int]:
        """Call the op for all references of a chunk."""
        physical = (
            tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims[2:], strict=True)
        )
        return op(*physical, *extra), 0


class Elementwise(torch.autograd.Function):
    """An activation with the rescale rule."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        tape: Tape,
        function: Callable[[Tensor], Tensor],
        activation: str,
        parameters: tuple[float, ...],
    ) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call = tape, tape.record(activation, u)
        ctx.extra = (activation, parameters)
        return function(u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call = ctx.tape.paired(), ctx.call
        (u,) = ctx.tape.records[call].tensors
        (r,) = pairing.current[call]
        rows = AllPairs.apply(
            rescale_multipliers, ctx.extra, pairing.to_rows(grad, call), pairing.to_rows(u, call), r
        )
        return pairing.from_rows(rows, call), None, None, None, None


class Select(torch.autograd.Function):
    """The maxima at `indices` of the last dimension, as a max-pooling finds them."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, indices: Tensor, tape: Tape) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call = tape, tape.record("max", u, indices)
        return u.gather(-1, indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call = ctx.tape.paired(), ctx.call
        u, indices = (pairing.to_rows(t, call, i) for i, t in enumerate(ctx.tape.records[call].tensors))
        r, reference_indices = pairing.current[call]
        rows = AllPairs.apply(
            maxpool_rescale, (), pairing.to_rows(grad, call), u, r, indices, reference_indices
        )
        return pairing.from_rows(rows, call), None, None


class LogSumExp(torch.autograd.Function):
    """``log sum_i exp(u_i)`` over the last dimension, kept.

    Rescaling exp and log in turn gives ``m_i = L(e^u_i, e^r_i) / L(sum e^u, sum e^r)`` with the logarithmic
    mean L(a, b) = (a - b) / (log a - log b) = sqrt(ab) sinhc((log a - log b) / 2). Computed in logarithms, so
    nothing overflows; ``sum_i m_i (u_i - r_i)`` is exactly the change of the output.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, tape: Tape) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call = tape, tape.record("logsumexp", u)
        return u.logsumexp(-1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call = ctx.tape.paired(), ctx.call
        u = pairing.to_rows(ctx.tape.records[call].tensors[0], call)
        (r,) = pairing.current[call]
        total_u, total_r = u.logsumexp(-1, keepdim=True), r.logsumexp(-1, keepdim=True)
        log_mean = 0.5 * ((u - total_u) + (r - total_r))
        change = u - r
        multipliers = (log_mean + _log_sinhc(0.5 * change) - _log_sinhc(0.5 * (total_u - total_r))).exp()
        # A masked entry, -inf, is no part of the sum.
        multipliers = multipliers.masked_fill(torch.minimum(u, r) == -torch.inf, 0)
        return pairing.from_rows(_carried(pairing.to_rows(grad, call), multipliers, change), call), None


class Power(torch.autograd.Function):
    """``u ** p`` for u >= 0 and a number p > 0.

    With a the larger and b the smaller end, ``a^p - b^p = a^p (1 - exp(-p log(a / b)))``.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, tape: Tape, function: Callable[[Tensor], Tensor], exponent: float
    ) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call, ctx.exponent = tape, tape.record("pow", u), exponent
        return function(u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call, p = ctx.tape.paired(), ctx.call, ctx.exponent
        u = pairing.to_rows(ctx.tape.records[call].tensors[0], call)
        (r,) = pairing.current[call]
        upper, lower, gap = torch.maximum(u, r), torch.minimum(u, r), (u - r).abs()
        rise = upper**p * -torch.expm1(-p * torch.log1p(gap / lower))
        slopes = torch.where(gap == 0, p * upper ** (p - 1), rise / gap)
        return pairing.from_rows(_carried(pairing.to_rows(grad, call), slopes, u - r), call), None, None, None


class Quotient(torch.autograd.Function):
    """``a / b`` of two tensors that depend on the input.

    From ``a = q b`` follows ``change(q) = (change(a) - mean(q) change(b)) / mean(b)``, exactly, and no denominator
    next to 0 stands alone. Where b changes its sign, and its mean may be 0, a product with 1 / b takes its place:
    ``change(q) = (mean(b) change(a) - mean(a) change(b)) / (b b')``.
    """

    @staticmethod
    def forward(ctx: Any, tape: Tape, function: Callable[..., Tensor], a: Tensor, b: Tensor) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call = tape, tape.record("div", a, b)
        return function(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call = ctx.tape.paired(), ctx.call
        a, b = ctx.tape.records[call].tensors
        ra, rb = (
            # In the order of the module's own dimensions, in which one is broadcast to the other.
            pairing.from_rows(r.expand_as(pairing.to_rows(own, call, i)), call, i)
            for i, (own, r) in enumerate(zip((a, b), pairing.current[call], strict=True))
        )
        mean_a, mean_b, keeps_sign = 0.5 * (a + ra), 0.5 * (b + rb), (b > 0) == (rb > 0)
        of_a = _finite(torch.where(keeps_sign, 1 / mean_b, mean_b / (b * rb)))
        of_b = _finite(torch.where(keeps_sign, 0.5 * (a / b + ra / rb) / mean_b, mean_a / (b * rb)))
        multipliers: Callable[..., Any] = torch.func.vjp(lambda a, b: of_a * a - of_b * b, a, b)[1]
        return None, None, *multipliers(grad)


def _carried(grad: Tensor, slopes: Tensor, change: Tensor) -> Tensor:
    """Return the multipliers of the input, as `rescale_multipliers` does."""
    return torch.where((grad != 0) & ((change != 0) | slopes.isfinite()), slopes * grad, 0)


def _finite(factors: Tensor) -> Tensor:
    """Return factors with 0 for NaN and infinity: a module with finite logits has no use for what they belong to."""
    return torch.nan_to_num(factors, 0.0, 0.0, 0.0)


def _log_sinhc(half: Tensor) -> Tensor:
    """Return ``log(sinh(h) / h)``."""
    twice = 2 * half.abs()
    return 0.5 * twice + torch.where(twice == 0, 1, -torch.expm1(-twice) / twice).log()


class Quadratic(torch.autograd.Function):
    """A function of degree at most two in all its tensors together: a product, a matmul, a variance.

    Its change is its derivative at the midpoint of image and reference times the change of its tensors,
    exactly: for a product, ``change(ab) = change(a) mean(b) + mean(a) change(b)``.
    """

    @staticmethod
    def forward(ctx: Any, tape: Tape, name: str, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call, ctx.function = tape, tape.record(name, *tensors), function
        return function(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call = ctx.tape.paired(), ctx.call
        midpoints = [
            pairing.from_rows(_finite(0.5 * (pairing.to_rows(tensor, call, i) + r)), call, i)
            for i, (tensor, r) in enumerate(
                zip(ctx.tape.records[call].tensors, pairing.current[call], strict=True)
            )
        ]
        vjp: Callable[..., Any] = torch.func.vjp(ctx.function, *midpoints)[1]
        return None, None, None, *vjp(grad)


class Tap(torch.autograd.Function):
    """A copy that notes how much of the output's change passes this point by ``sign * sum Re(conj(grad) (u - r))``.

    Taps before (sign -1) and after (sign +1) an op give what it adds to the completeness error.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, tape: Tape, name: str, sign: int) -> Tensor:
        """Compute what the module computes, and record it."""
        ctx.tape, ctx.call, ctx.sign = tape, tape.record(name, u), sign
        return u.clone()  # not a view: the module may change it in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        pairing, call = ctx.tape.paired(), ctx.call
        record = ctx.tape.records[call]
        (r,) = pairing.current[call]
        u, multipliers = pairing.to_rows(record.tensors[0], call), pairing.to_rows(grad, call)
        # What does not change passes nothing, though its multiplier be infinite (a root at 0).
        multipliers = torch.where((u == r) & ~multipliers.isfinite(), 0, multipliers)
        passing = multipliers.conj() * (u - r)
        passing = passing.real if passing.is_complex() else passing
        amount = ctx.sign * passing.flatten(1).sum(1, dtype=torch.float64)
        pairing.blame[record.name] = pairing.blame.get(record.name, 0) + amount
        return pairing.from_rows(multipliers, call), None, None, None

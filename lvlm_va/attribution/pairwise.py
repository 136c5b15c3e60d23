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
        change = torch.where(u == r, 0, u - r)  # masked entries are -inf in both
        multipliers = (log_mean + _log_sinhc(0.5 * change) - _log_sinhc(0.5 * (total_u - total_r))).exp()
        return pairing.from_rows(pairing.to_rows(grad, call) * multipliers, call), None


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
            pairing.from_rows(0.5 * (pairing.to_rows(tensor, call, i) + r), call, i)
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
        passing = pairing.to_rows(grad, call).conj() * (pairing.to_rows(record.tensors[0], call) - r)
        passing = passing.real if passing.is_complex() else passing
        amount = ctx.sign * passing.flatten(1).sum(1, dtype=torch.float64)
        pairing.blame[record.name] = pairing.blame.get(record.name, 0) + amount
        return grad, None, None, None

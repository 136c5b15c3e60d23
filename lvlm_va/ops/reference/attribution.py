"""Oracles of the attribution ops: DeepLIFT's rescale rule, max-pooling, and the mean over references.

The slopes are difference quotients ``(f(u) - f(r)) / (u - r)`` in forms that do not cancel: where the plain
quotient of rounded values would lose its digits near ``u = r``, an algebraic identity takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# tanh approximation of GELU: 0.5 x (1 + tanh(k (x + c x^3)))
_GELU_K = math.sqrt(2 / math.pi)
_GELU_C = 0.044715


def _decay(gap: Tensor) -> Tensor:
    """Return ``(1 - exp(-gap)) / gap`` for ``gap >= 0``: the slope of exp relative to its larger end."""
    return torch.where(gap == 0, 1, -torch.expm1(-gap) / gap)


def _quotient(rise: Tensor, run: Tensor, at_zero: Tensor) -> Tensor:
    """Return ``rise / run``, and `at_zero` where `run` is exactly 0."""
    return torch.where(run == 0, at_zero, rise / run)


def _smooth(
    function: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]
) -> Callable[..., Tensor]:
    """Return the slope of a smooth function: its quotient, or the midpoint derivative where that is nearer.

    The quotient errs by ``eps / |u - r|``, the midpoint derivative by ``(u - r)^2 f''' / 24``; they meet
    where ``|u - r| = (24 eps)^(1/3)``.
    """

    def slope(u: Tensor, r: Tensor) -> Tensor:
        run = u - r
        near = run.abs() < (24 * torch.finfo(run.dtype).eps) ** (1 / 3)
        return torch.where(near, derivative(0.5 * (u + r)), (function(u) - function(r)) / run)

    return slope


def _hardtanh(u: Tensor, r: Tensor, low: float, high: float) -> Tensor:
    # Where both ends lie inside, rise and run are the same numbers: nothing is lost to rounding.
    inside = ((u > low) & (u <= high)).to(u.dtype)
    return _quotient(u.clamp(low, high) - r.clamp(low, high), u - r, inside)


def _relu(u: Tensor, r: Tensor) -> Tensor:
    return _quotient(u.relu() - r.relu(), u - r, (u > 0).to(u.dtype))


def _leaky_relu(u: Tensor, r: Tensor, negative_slope: float) -> Tensor:
    return negative_slope + (1 - negative_slope) * _relu(u, r)


def _abs(u: Tensor, r: Tensor) -> Tensor:
    return 2 * _relu(u, r) - 1


def _exp(u: Tensor, r: Tensor) -> Tensor:
    return torch.maximum(u, r).exp() * _decay((u - r).abs())


def _elu(u: Tensor, r: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    positive = _relu(u, r)
    below = _exp(u.clamp(max=0) * input_scale, r.clamp(max=0) * input_scale)
    return scale * (positive + (1 - positive) * alpha * input_scale * below)


def _sigmoid(u: Tensor, r: Tensor) -> Tensor:
    # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for a >= b
    upper, lower = torch.maximum(u, r), torch.minimum(u, r)
    return upper.sigmoid() * (-lower).sigmoid() * _decay(upper - lower)


def _tanh(u: Tensor, r: Tensor) -> Tensor:
    return 4 * _sigmoid(2 * u, 2 * r)


def _silu(u: Tensor, r: Tensor) -> Tensor:
    return 0.5 * ((u + r) * _sigmoid(u, r) + u.sigmoid() + r.sigmoid())


def _hardswish(u: Tensor, r: Tensor) -> Tensor:
    # x relu6(x + 3) / 6 by the symmetric product rule
    gates = F.hardsigmoid(u) + F.hardsigmoid(r)
    return 0.5 * ((u + r) * _hardtanh(u, r, -3.0, 3.0) / 6 + gates)


def _softplus(u: Tensor, r: Tensor, beta: float, threshold: float) -> Tensor:
    def derivative(x: Tensor) -> Tensor:
        return torch.where(x * beta > threshold, 1, (x * beta).sigmoid())

    return _smooth(lambda x: F.softplus(x, beta, threshold), derivative)(u, r)


def _mish(u: Tensor, r: Tensor) -> Tensor:
    soft_u, soft_r = F.softplus(u), F.softplus(r)
    gate = _tanh(soft_u, soft_r) * _softplus(u, r, 1.0, 20.0)
    return 0.5 * ((u + r) * gate + soft_u.tanh() + soft_r.tanh())


def _erf(u: Tensor, r: Tensor) -> Tensor:
    return _smooth(torch.erf, lambda x: (2 / math.sqrt(math.pi)) * (-x * x).exp())(u, r)


def _gelu(u: Tensor, r: Tensor) -> Tensor:
    # x Phi(x) by the symmetric product rule, Phi(x) = (1 + erf(x / sqrt 2)) / 2
    a, b = u * math.sqrt(0.5), r * math.sqrt(0.5)
    return 0.5 * ((a + b) * 0.5 * _erf(a, b) + 1 + 0.5 * (a.erf() + b.erf()))


def _gelu_tanh(u: Tensor, r: Tensor) -> Tensor:
    a, b = (_GELU_K * (x + _GELU_C * x * x * x) for x in (u, r))
    inner = _GELU_K * (1 + _GELU_C * (u * u + u * r + r * r))
    return 0.5 * (0.5 * (u + r) * _tanh(a, b) * inner + 1 + 0.5 * (a.tanh() + b.tanh()))


def _log(u: Tensor, r: Tensor) -> Tensor:
    lower = torch.minimum(u, r)
    gap = (u - r).abs()
    return torch.where(gap == 0, 1 / lower, torch.log1p(gap / lower) / gap)


def _sqrt(u: Tensor, r: Tensor) -> Tensor:
    return 1 / (u.sqrt() + r.sqrt())


def _rsqrt(u: Tensor, r: Tensor) -> Tensor:
    a, b = u.sqrt(), r.sqrt()
    return -1 / (a * b * (a + b))


def _reciprocal(u: Tensor, r: Tensor) -> Tensor:
    return -1 / (u * r)


SLOPES: dict[str, Callable[..., Tensor]] = {
    "abs": _abs,
    "elu": _elu,
    "erf": _erf,
    "exp": _exp,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardswish": _hardswish,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "log": _log,
    "mish": _mish,
    "reciprocal": _reciprocal,
    "relu": _relu,
    "rsqrt": _rsqrt,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "sqrt": _sqrt,
    "tanh": _tanh,
}


def rescale_multipliers(
    grad_output: Tensor, input: Tensor, reference: Tensor, activation: str, parameters: Sequence[float]
) -> Tensor:
    """Return ``grad_output * (f(input) - f(reference)) / (input - reference)``.

    A multiplier of 0 stays 0, and no change along an infinite slope has none.
    """
    slope = SLOPES[activation](input, reference, *parameters)
    counts = (grad_output != 0) & ((input != reference) | slope.isfinite())
    return torch.where(counts, slope * grad_output, 0).contiguous()


def maxpool_rescale(
    grad_output: Tensor, input: Tensor, reference: Tensor, input_indices: Tensor, reference_indices: Tensor
) -> Tensor:
    """Give each window's change to the one position that explains it, and add up where windows overlap."""
    pairs = torch.broadcast_shapes(input.shape, reference.shape)
    windows = (*pairs[:-1], input_indices.shape[-1])
    highest = input.gather(-1, input_indices)
    reference_highest = reference.gather(-1, reference_indices)
    rise = highest - reference_highest
    # A window that rises does so at the image's maximum, one that falls at the reference's: there the input
    # changes at least as much as the output does, and in the same direction, so the share lies in [0, 1].
    at_input = highest - reference.expand(pairs).gather(-1, input_indices.expand(windows))
    at_reference = input.expand(pairs).gather(-1, reference_indices.expand(windows)) - reference_highest
    rises = highest >= reference_highest
    index = torch.where(rises, input_indices, reference_indices)
    # No difference: those of infinities would be NaN.
    same = (input == reference).gather(-1, index)
    share = torch.where(same, 1, rise / torch.where(rises, at_input, at_reference))
    return share.new_zeros(pairs).scatter_add_(-1, index, share.mul_(grad_output))


def attribution_reduce(multipliers: Tensor, images: Tensor, references: Tensor) -> Tensor:
    """Return the mean over references of ``(images - references) * multipliers``."""
    return (images - references).mul_(multipliers).mean(0).contiguous()

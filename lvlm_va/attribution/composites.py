"""Nonlinear calls written as simpler ones that have a rule, so that completeness holds exactly.

Each function takes the arguments of the torch function of its name, as torch's C++ side names them, and
returns NotImplemented where its arguments ask for something else. The simpler calls are met in their turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def div(input: Tensor | float, other: Tensor, *, rounding_mode: str | None = None) -> Any:
    """Return a constant over a tensor as ``input * (1 / other)``."""
    if rounding_mode is not None:
        return NotImplemented
    return other.reciprocal() * input


def pow(input: Any, exponent: Any) -> Any:
    """Return ``input ** exponent`` as products and roots; as ``exp(exponent * log(input))`` if the exponent varies."""
    if isinstance(exponent, Tensor) and exponent.numel() == 1 and not exponent.requires_grad:
        exponent = exponent.item()
    if isinstance(exponent, Tensor):
        base = input if isinstance(input, Tensor) else exponent.new_tensor(input)
        return (exponent * base.log()).exp()
    if exponent < 0:
        return input.rsqrt() if exponent == -0.5 else pow(input, -exponent).reciprocal()
    if exponent == 0:
        return torch.ones_like(input)
    if exponent == 0.5:
        return input.sqrt()
    if not float(exponent).is_integer():
        return torch.pow(input, exponent)  # has a rule of its own
    result = input * 1
    for _ in range(int(exponent) - 1):
        result = result * input
    return result


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """Return ``other + relu(input - other)``."""
    return other + (input - other).relu()


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """Return ``input - relu(input - other)``."""
    return input - (input - other).relu()


def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Return ``-max(-input)``."""
    return -(-input).amax(dim, keepdim)


def min(input: Tensor, dim: Any = (), keepdim: bool = False) -> Any:
    """Return ``-max(-input)``, and where it is if a dimension is given."""
    if dim == ():
        return -(-input).amax()
    values, indices = (-input).max(dim, keepdim)
    return torch.return_types.min((-values, indices))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return ``relu(input) - weight * relu(-input)``."""
    if weight.ndim == 1 and input.ndim > 1:
        weight = weight.view(1, -1, *(1,) * (input.ndim - 2))
    return input.relu() - weight * (-input).relu()


def exp2(input: Tensor) -> Tensor:
    """Return ``exp(log(2) input)``."""
    return (input * math.log(2)).exp()


def expm1(input: Tensor) -> Tensor:
    """Return ``exp(input) - 1``."""
    return input.exp() - 1


def log1p(input: Tensor) -> Tensor:
    """Return ``log(1 + input)``."""
    return (1 + input).log()


def log2(input: Tensor) -> Tensor:
    """Return ``log(input) / log(2)``."""
    return input.log() / math.log(2)


def log10(input: Tensor) -> Tensor:
    """Return ``log(input) / log(10)``."""
    return input.log() / math.log(10)


def hardsigmoid(input: Tensor) -> Tensor:
    """Return ``clamp(input, -3, 3) / 6 + 1 / 2``."""
    return input.clamp(-3, 3) / 6 + 0.5


def log_sigmoid(input: Tensor) -> Tensor:
    """Return ``-softplus(-input)``."""
    return -F.softplus(-input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return ``input - clamp(input, -lambd, lambd)``."""
    return input - input.clamp(-lambd, lambd)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return the first half times the sigmoid of the second."""
    value, gate = input.chunk(2, dim)
    return value * gate.sigmoid()


def log_softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``input - logsumexp(input)``."""
    x = input if dtype is None else input.to(dtype)
    return x - x.logsumexp(dim, keepdim=True)


def softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``exp(input - logsumexp(input))``."""
    return log_softmax(input, dim, dtype).exp()


def std(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the root of the variance."""
    return input.var(*args, **kwargs).sqrt()


def linalg_vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Any:
    """Return the sum of magnitudes, or the root of the sum of squares."""
    if dtype is not None or ord not in (1, 2):
        return NotImplemented
    return x.abs().sum(dim, keepdim) if ord == 1 else x.square().sum(dim, keepdim).sqrt()


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Centre, divide by the standard deviation, scale and shift, over the last dimensions."""
    dims = tuple(range(-len(normalized_shape), 0))
    return _affine(_normalised(input, dims, eps), weight, bias)


def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last dimensions, and scale."""
    dims = tuple(range(-len(normalized_shape), 0))
    power = input.square().mean(dims, keepdim=True) + (torch.finfo(input.dtype).eps if eps is None else eps)
    return _affine(input / power.sqrt(), weight, None)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Centre, divide by the standard deviation over each group of channels, scale and shift."""
    groups = input.reshape(input.shape[0], num_groups, -1)
    normal = _normalised(groups, (-1,), eps).reshape(input.shape)
    return _affine(normal, _per_channel(weight, input), _per_channel(bias, input))


def instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Do as `group_norm` with one channel a group, or as `batch_norm` with running statistics."""
    if not use_input_stats:
        return batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps, cudnn_enabled)
    return group_norm(input, input.shape[1], weight, bias, eps)


def batch_norm(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Scale and shift by the running statistics; those of the batch have no rule."""
    affine = scale_and_shift(*args, **kwargs)
    if affine is None:
        return NotImplemented
    # One multiply-add instead of torch's own: vmap's backward of that one takes ten times as long.
    scale, shift = (_per_channel(values, input) for values in affine)
    return torch.addcmul(shift, input, scale)


def scale_and_shift(
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> tuple[Tensor, Tensor] | None:
    """Return what batch normalisation by running statistics does to each channel; None where it takes the batch's."""
    if training or running_mean is None or running_var is None:
        return None
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else torch.addcmul(bias, running_mean, scale, value=-1)
    return scale, shift


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Return ``softmax(query @ key^T * scale + mask) @ value``."""
    if dropout_p > 0:
        return NotImplemented
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    return scores.softmax(-1) @ value


def _normalised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred / (x.var(dims, correction=0, keepdim=True) + eps).sqrt()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _per_channel(values: Any, like: Tensor) -> Any:
    return None if values is None else values.view(1, -1, *(1,) * (like.ndim - 2))


COMPOSITES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        amin,
        batch_norm,
        div,
        exp2,
        expm1,
        glu,
        group_norm,
        hardsigmoid,
        instance_norm,
        layer_norm,
        linalg_vector_norm,
        log1p,
        log2,
        log10,
        log_sigmoid,
        log_softmax,
        maximum,
        min,
        minimum,
        pow,
        prelu,
        rms_norm,
        scaled_dot_product_attention,
        softmax,
        softshrink,
        std,
    )
}

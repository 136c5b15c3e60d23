"""Read the torch calls that are affine in their input, row by row: convolutions, linear maps, frozen batch norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# stride, padding, dilation, transposed, output padding, groups: the order of torch.convolution.
ConvolutionSettings = tuple[list[int], list[int], list[int], bool, list[int], int]


@dataclass(frozen=True, eq=False)
class AffineCall:
    """One call, however it was spelt.

    Attributes
    ----------
    x : Tensor of shape (n, ...)
        What the call is affine in.
    weight, bias : Tensor or None
        Parameters.
    convolution : ConvolutionSettings or None
        Of a convolution alone.
    statistics : tuple of (Tensor, Tensor, float), or None
        Mean, variance and epsilon of a batch normalisation.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    convolution: ConvolutionSettings | None = None
    statistics: tuple[Tensor, Tensor, float] | None = None

    def same_map(self, other: AffineCall) -> bool:
        """Return whether both apply the same map, in the very same tensors."""
        mine, others = (
            (call.weight, call.bias, call.convolution, *(call.statistics or ())) for call in (self, other)
        )
        return len(mine) == len(others) and all(
            one is two or (not isinstance(one, Tensor) and one == two)
            for one, two in zip(mine, others, strict=True)
        )


def read_affine_call(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AffineCall | None:
    """Return the call, or None where it is affine but of a kind left to torch.

    Raises
    ------
    KeyError
        If `func` is not among `AFFINE`.
    """
    return AFFINE[func](*args, **kwargs)


def _convolution(n_dims: int) -> Callable[..., AffineCall | None]:
    def read(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> AffineCall | None:
        stride, dilation = _per_dim(stride, n_dims), _per_dim(dilation, n_dims)
        if padding == "valid":
            padding = 0
        elif padding == "same":
            span = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]
            if any(value % 2 for value in span):
                return None
            padding = [value // 2 for value in span]
        settings = (stride, _per_dim(padding, n_dims), dilation, False, [0] * n_dims, groups)
        return AffineCall(input, weight, bias, convolution=settings) if input.ndim == n_dims + 2 else None

    return read


def _transposed_convolution(n_dims: int) -> Callable[..., AffineCall | None]:
    def read(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> AffineCall | None:
        stride, padding, output_padding, dilation = (
            _per_dim(value, n_dims) for value in (stride, padding, output_padding, dilation)
        )
        settings = (stride, padding, dilation, True, output_padding, groups)
        return AffineCall(input, weight, bias, convolution=settings) if input.ndim == n_dims + 2 else None

    return read


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> AffineCall | None:
    return AffineCall(input, weight, bias) if input.ndim > 1 else None


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> AffineCall | None:
    if training or running_mean is None or running_var is None:
        return None
    return AffineCall(input, weight, bias, statistics=(running_mean, running_var, eps))


def _per_dim(value: Any, n_dims: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * n_dims if len(values) == 1 else values


AFFINE: dict[Callable[..., Any], Callable[..., AffineCall | None]] = {
    torch.conv1d: _convolution(1),
    torch.conv2d: _convolution(2),
    torch.conv3d: _convolution(3),
    torch.conv_transpose1d: _transposed_convolution(1),
    torch.conv_transpose2d: _transposed_convolution(2),
    torch.conv_transpose3d: _transposed_convolution(3),
    F.linear: _linear,
    F.batch_norm: _batch_norm,
}

"""Batch normalisation over the rows of all processes, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from lvlm_va.common.distributed import add_up


class SynchronizedBatchNorm(TorchFunctionMode):
    """Gives batch normalisation in training mode the mean and variance of the batch's rows in all processes.

    What `torch.nn.SyncBatchNorm` does on GPUs, without a change of the user's module. Every process must forward the
    same layers, with one row at least.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call."""
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    dims, shape = [0, *range(2, input.ndim)], (1, -1, *[1] * (input.ndim - 2))
    x = input.float() if input.dtype == torch.bfloat16 else input
    n = add_up(x.new_tensor(x.numel() / x.shape[1]))
    mean = _Sum.apply(x.sum(dims)) / n
    centred = x - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(dims)) / n
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * (n / (n - 1))).to(running_var), momentum)
    result: Tensor = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        result = result * weight.view(shape)
    if bias is not None:
        result = result + bias.view(shape)
    return result.to(input.dtype)


class _Sum(Function):
    """The sum of a tensor over all processes, each of which adds its own loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the sum."""
        return add_up(x.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the sum of the derivatives."""
        return add_up(grad.contiguous().clone())

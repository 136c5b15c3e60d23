"""Oracle of the masked gradient penalty and of its derivative."""

from __future__ import annotations

from torch import Tensor


def masked_gradient_penalty(gradient: Tensor, mask: Tensor) -> Tensor:
    """Return ``sum_{c,p} (mask_p gradient_cp)^2`` per image, summed in float64."""
    masked = gradient.double() * mask.double().unsqueeze(1)
    return masked.square().flatten(1).sum(1).to(gradient.dtype)


def masked_gradient_penalty_backward(grad_output: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
    """Return ``2 grad_output mask_p^2 gradient_cp``, contiguous."""
    shape = (-1, *[1] * (gradient.ndim - 1))
    scale = 2 * grad_output.double().reshape(shape) * mask.double().square().unsqueeze(1)
    return (scale * gradient.double()).to(gradient.dtype).contiguous()

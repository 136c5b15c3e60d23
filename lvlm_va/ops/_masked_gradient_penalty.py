"""The right-for-the-right-reasons penalty of input gradients under a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from lvlm_va.ops._checks import FLOATING, require_device, require_shape, require_tensor


def masked_gradient_penalty(gradient: Tensor, mask: Tensor) -> Tensor:
    """Sum of squared input gradients under each image's mask.

    ``penalty_n = sum_c sum_p (mask_np * gradient_ncp)^2``, the right-hand term of Ross et al. (2017,
    arXiv 1703.03717, eq. 1) for one image. Sums run in float64. Differentiable in `gradient`, any number of
    times; not in `mask`.

    Parameters
    ----------
    gradient : Tensor of shape (n, C, *spatial), float32 or float64
        Derivative of the sum of log-probabilities with respect to the image.
    mask : Tensor of shape (n, *spatial), the dtype and device of `gradient`
        1 where the image must not matter, 0 where it may; fractions weigh. Shared by the channels.

    Returns
    -------
    Tensor of shape (n,), the dtype of `gradient`
        The penalty of each image, >= 0.

    Raises
    ------
    TypeError
        If an argument is no tensor, or of another dtype.
    ValueError
        If the shapes or devices do not fit.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.ops import masked_gradient_penalty
    >>> gradient = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    >>> masked_gradient_penalty(gradient, torch.tensor([[[1.0, 0.0]]]))
    tensor([10.])
    """
    require_tensor("gradient", gradient, "(n, C, *spatial)", 2, FLOATING, at_least=True)
    require_tensor("mask", mask, "(n, *spatial)", 1, FLOATING, at_least=True)
    require_shape(
        "mask", mask, (gradient.shape[0], *gradient.shape[2:]), "for a gradient of shape (n, C, *spatial)"
    )
    if mask.dtype != gradient.dtype:
        raise TypeError(
            f"The 'mask' argument must have the dtype of 'gradient', {gradient.dtype}. "
            f"Got {mask.dtype} instead; convert it with .to(gradient.dtype)."
        )
    require_device("mask", mask, "gradient", gradient)
    penalty: Tensor = torch.ops.lvlm_va.masked_gradient_penalty.default(gradient, mask)
    return penalty

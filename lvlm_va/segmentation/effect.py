"""From attributions to the effect of each pixel."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from lvlm_va.common.effect import Effect
from lvlm_va.common.errors import unknown_name


def pixel_effect(attributions: Tensor, effect: Effect) -> Tensor:
    """Return the effect of each pixel on the explained logit, >= 0.

    Parameters
    ----------
    attributions : Tensor of shape (n, C, H, W)
        Finite attributions of one logit per image, in any floating dtype.
    effect : {"positive", "absolute"}
        What the pixel adds to the logit, ``max(sum over channels of Phi, 0)``, or how much it changes it either way,
        ``|sum over channels of Phi|``.

    Returns
    -------
    Tensor of shape (n, H, W), float64
        Effect, in logits, on the same device.

    Raises
    ------
    TypeError
        If the attributions are no floating tensor.
    ValueError
        If they have another shape, or hold NaN or infinity, or the effect is unknown.

    Examples
    --------
    >>> import torch
    >>> pixel_effect(torch.tensor([[[[1.0, -3.0]], [[0.5, 1.0]]]]), "absolute")
    tensor([[[1.5000, 2.0000]]], dtype=torch.float64)
    """
    check_effect(effect)
    check_attributions(attributions)
    total = attributions.detach().sum(1, dtype=torch.float64)
    return total.abs() if effect == "absolute" else total.clamp_min(0)


def positive_effect(attributions: Tensor) -> Tensor:
    """Return the positive effect of each pixel: what it adds to the explained logit, or 0.

    ``max(sum over channels of Phi, 0)``, as in PPEPS-WGM (arXiv 2512.21985).

    Parameters
    ----------
    attributions : Tensor of shape (n, C, H, W)
        Finite attributions of one logit per image, in any floating dtype.

    Returns
    -------
    Tensor of shape (n, H, W), float64
        Positive effect, in logits, on the same device.

    Raises
    ------
    TypeError
        If the attributions are no floating tensor.
    ValueError
        If they have another shape, or hold NaN or infinity.

    Examples
    --------
    >>> import torch
    >>> positive_effect(torch.tensor([[[[1.0, -3.0]], [[0.5, 1.0]]]]))
    tensor([[[1.5000, 0.0000]]], dtype=torch.float64)
    """
    return pixel_effect(attributions, "positive")


def check_effect(effect: object) -> None:
    """Raise unless this is a kind of effect."""
    if effect not in get_args(Effect):
        raise unknown_name("effect", effect, get_args(Effect))


def shares_of_effect(effect: Tensor) -> Tensor:
    """Return the share of the image's effect in each pixel.

    It is the probability that one unit of effect comes from this pixel; 0 throughout an image without effect.

    Parameters
    ----------
    effect : Tensor of shape (n, H, W), float64
        Effect >= 0.

    Returns
    -------
    Tensor of shape (n, H, W), float64
        Shares, in [0, 1].
    """
    # By the largest value first: the sum of tiny values could underflow, that of huge ones overflow.
    effect = _divide(effect, effect.amax((1, 2), keepdim=True))
    return _divide(effect, effect.sum((1, 2), keepdim=True))


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator / denominator.where(denominator > 0, 1)


def check_attributions(attributions: Tensor) -> None:
    """Raise unless the attributions are finite, floating and of shape (n, C, H, W)."""
    if not isinstance(attributions, Tensor):
        raise TypeError(
            f"The 'attributions' argument must be a tensor. Got {type(attributions).__name__} instead. "
            "Use torch.as_tensor."
        )
    if not attributions.is_floating_point():
        raise TypeError(
            f"The 'attributions' argument must be floating point. Got {attributions.dtype} instead. "
            "Use .float()."
        )
    if attributions.ndim != 4 or 0 in attributions.shape[1:]:
        raise ValueError(
            "The 'attributions' argument must have shape (n, C, H, W), with at least one channel and pixel. "
            f"Got {tuple(attributions.shape)} instead."
        )
    # A sum with a NaN or an infinity in it is not finite; it needs no copy of the whole tensor.
    finite = attributions.detach().sum((1, 2, 3), dtype=torch.float64).isfinite()
    if not finite.all():
        bad = (~finite).nonzero()[:, 0].tolist()
        raise ValueError(
            f"The 'attributions' argument must be finite. Got NaN or infinity in {len(bad)} of {len(finite)} "
            f"images, the first of them image {bad[0]}. Check the module's outputs for these images."
        )

"""From attributions to the positive effect of each pixel."""

from __future__ import annotations

import torch
from torch import Tensor


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
    check_attributions(attributions)
    return attributions.detach().sum(1, dtype=torch.float64).clamp_min(0)


def shares_of_effect(effect: Tensor) -> Tensor:
    """Return ``p = Phi+ / sum Phi+``, the share of the image's positive effect in each pixel.

    It is the probability that one unit of positive effect comes from this pixel; 0 throughout an image
    without positive effect.

    Parameters
    ----------
    effect : Tensor of shape (n, H, W), float64
        Positive effect.
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

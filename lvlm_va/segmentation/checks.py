"""Checks of the segmenters' images."""

from __future__ import annotations

from torch import Tensor


def check_images(images: Tensor, attributions: Tensor) -> None:
    """Raise unless the images are finite, and as many and as large as the attributions."""
    if images.ndim != 4 or (len(images), *images.shape[2:]) != (len(attributions), *attributions.shape[2:]):
        raise ValueError(
            "The 'images' argument must have shape (n, C, H, W) with the attributions' n, H and W. Got "
            f"{tuple(images.shape)} for attributions of shape {tuple(attributions.shape)} instead."
        )
    if not images.isfinite().all():
        raise ValueError("The 'images' argument must be finite. Got NaN or infinity instead.")

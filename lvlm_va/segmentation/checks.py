"""Checks of the segmenters' parameters and images."""

from __future__ import annotations

from numbers import Integral, Real

from torch import Tensor


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise unless `value` is an integer >= `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"The {name!r} argument must be an integer. Got {value!r} instead.")
    if int(value) < least:
        raise ValueError(f"The {name!r} argument must be at least {least}. Got {value} instead.")


def check_number(name: str, value: object, least: float, below: float = float("inf")) -> None:
    """Raise unless `value` is a number in [least, below)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"The {name!r} argument must be a number. Got {value!r} instead.")
    if not least <= float(value) < below:
        raise ValueError(f"The {name!r} argument must lie in [{least}, {below}). Got {value} instead.")


def check_images(images: Tensor, attributions: Tensor) -> None:
    """Raise unless the images are finite, and as many and as large as the attributions."""
    if images.ndim != 4 or (len(images), *images.shape[2:]) != (len(attributions), *attributions.shape[2:]):
        raise ValueError(
            "The 'images' argument must have shape (n, C, H, W) with the attributions' n, H and W. Got "
            f"{tuple(images.shape)} for attributions of shape {tuple(attributions.shape)} instead."
        )
    if not images.isfinite().all():
        raise ValueError("The 'images' argument must be finite. Got NaN or infinity instead.")

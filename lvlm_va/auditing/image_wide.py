"""The statistics of whole images that an audit tests: how each is read and set, and what to do where one matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvlm_va.auditing import image_statistics as read
from lvlm_va.auditing import settings


@dataclass(frozen=True)
class ImageStatistic:
    """A number, or a few, that a whole image has.

    Attributes
    ----------
    name : str
        What it is called.
    read : callable
        ``images (n, C, H, W) -> values (n, d)``; see `lvlm_va.auditing.image_statistics`.
    set : callable
        ``(images, values, generator) -> images``; see `lvlm_va.auditing.settings`.
    advice : str
        Which augmentation makes it tell nothing.
    channels : int or None
        Of the images that have it; None for any.
    """

    name: str
    read: Callable[[Tensor], Tensor]
    set: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    advice: str
    channels: int | None = None


IMAGE_STATISTICS = (
    ImageStatistic("brightness", read.brightness, settings.brightness, "random exposure (brightness, gamma)"),
    ImageStatistic(
        "background level",
        read.background_level,
        settings.background_level,
        "random brightness, or backgrounds exchanged between classes",
    ),
    ImageStatistic(
        "background texture",
        read.background_texture,
        settings.background_texture,
        "backgrounds exchanged between classes, or random smoothing of them",
    ),
    ImageStatistic("contrast", read.contrast, settings.contrast, "random contrast"),
    ImageStatistic(
        "colour cast",
        read.colour_cast,
        settings.colour_cast,
        "random colour (hue and channel gains), or grey images",
        3,
    ),
    ImageStatistic(
        "sharpness", read.sharpness, settings.sharpness, "random blur, sharpening and lower resolution"
    ),
    ImageStatistic("noise", read.noise, settings.noise, "random noise"),
    ImageStatistic("JPEG quality", read.compression, settings.compression, "random JPEG compression"),
    ImageStatistic("borders", read.border, settings.border, "random crops, or borders cut off beforehand"),
)

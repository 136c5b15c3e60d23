"""Inputs that look like the real ones: smooth images, and attribution maps with about half their pixels positive."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def smooth_images(n: int, channels: int, side: int, seed: int = 0) -> Tensor:
    """Return images (n, C, side, side), float32 in [0, 1]: a coarse random pattern under fine noise."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=draw)
    smooth = F.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
    return 0.8 * smooth + 0.2 * torch.rand(n, channels, side, side, generator=draw)


def attribution_maps(n: int, side: int, n_blobs: int = 5, seed: int = 0) -> Tensor:
    """Return attributions (n, 1, side, side), float32: blobs of effect under noise of either sign.

    Each map has `n_blobs` Gaussian blobs of its own position, size, direction and height. The noise is half
    as high as a blob, so that about half of the pixels are positive, as in a real attribution.
    """
    draw = torch.Generator().manual_seed(seed)
    axis = (torch.arange(side) + 0.5) / side
    row, column = axis.view(1, 1, -1, 1), axis.view(1, 1, 1, -1)

    def numbers(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, n_blobs, 1, 1, generator=draw)

    down, right = row - numbers(0.1, 0.9), column - numbers(0.1, 0.9)
    angle, long, short = numbers(0, 3.1416), numbers(0.05, 0.2), numbers(0.02, 0.08)
    along, across = angle.cos() * down + angle.sin() * right, angle.cos() * right - angle.sin() * down
    bells = numbers(0.5, 1) * torch.exp(-0.5 * ((along / long).square() + (across / short).square()))
    noise = 0.25 * torch.randn(n, side, side, generator=draw)
    return (bells.sum(1) + noise * bells.sum(1).sqrt() + 0.02 * noise - 0.003)[:, None]

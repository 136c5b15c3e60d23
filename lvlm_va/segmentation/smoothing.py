"""Gaussian smoothing of maps, and coarser grids."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlm_va.segmentation.starts import parts_for_the_cache


def gaussian_radius(sigma: float) -> int:
    """Return how many pixels the kernel of `smoothed` reaches to either side: three standard deviations; 0 for none."""
    return int(3 * sigma + 0.5)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Return maps smoothed by a Gaussian; beyond the edges they go on mirrored, so that no effect is lost.

    Parameters
    ----------
    maps : Tensor of shape (n, H, W), float64
        The maps.
    sigma : float
        Standard deviation in pixels, >= 0.

    Returns
    -------
    Tensor of shape (n, H, W), float64
        Mirrored maps give mirrored results, to the last bit.
    """
    radius = gaussian_radius(sigma)
    if not radius:
        return maps
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    kernel = [weight / total for weight in weights]
    parts = (_along(_along(part, kernel, 1), kernel, 2) for part in parts_for_the_cache(maps))
    return torch.cat(list(parts))


def _along(maps: Tensor, kernel: list[float], dim: int) -> Tensor:
    # A sum of shifted maps rather than a convolution: what is added in which order never depends on the batch.
    radius, size = len(kernel) - 1, maps.shape[dim]
    position = torch.arange(-radius, size + radius, device=maps.device) % (2 * size)
    padded = maps.index_select(dim, torch.minimum(position, 2 * size - 1 - position))
    result = padded.narrow(dim, radius, size) * kernel[0]
    for offset, weight in enumerate(kernel[1:], start=1):
        pair = padded.narrow(dim, radius - offset, size) + padded.narrow(dim, radius + offset, size)
        result.add_(pair, alpha=weight)
    return result


def in_blocks(maps: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return the sums of `block` x `block` pixels, and the extent of their grid.

    Parameters
    ----------
    maps : Tensor of shape (n, H, W)
        The maps.
    block : int
        Side of a block in pixels; blocks that stick out count zeros there.

    Returns
    -------
    sums : Tensor of shape (n, ceil(H / block), ceil(W / block))
        Sum of each block.
    extent : Tensor of shape (2,)
        Height and width of the grid of blocks, in heights and widths of the maps.
    """
    n, height, width = maps.shape
    n_rows, n_columns = -(-height // block), -(-width // block)
    extent = maps.new_tensor([n_rows * block / height, n_columns * block / width])
    if block == 1:
        return maps, extent
    padded = F.pad(maps, (0, n_columns * block - width, 0, n_rows * block - height))
    return padded.view(n, n_rows, block, n_columns, block).sum((2, 4)), extent

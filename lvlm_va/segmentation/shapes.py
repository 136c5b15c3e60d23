"""The shape of regions: their densest part, closed and opened."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Cumulative sums that miss `mass` by rounding alone have reached it.
_ROUNDING = 1e-12


def densest(effect: Tensor, density: Tensor, labels: Tensor, n_regions: int, mass: float) -> Tensor:
    """Return the labels of the smallest part of each region, densest pixels first, that holds `mass` of its effect.

    Parameters
    ----------
    effect : Tensor of shape (n, H, W), float64
        Effect of each pixel.
    density : Tensor of shape (n, H, W), float64
        By which pixels are chosen, >= 0: of equally dense ones all or none.
    labels : Tensor of shape (n, H, W), int64
        Region of each pixel, from 1; 0 for none.
    n_regions : int
        Number of regions.
    mass : float
        Share of the region's effect, in (0, 1].
    """
    sorted_density, order = density.flatten(1).sort(1, descending=True)
    sorted_effect, sorted_labels = effect.flatten(1).gather(1, order), labels.flatten(1).gather(1, order)
    least = density.new_full((len(density), n_regions + 1), torch.inf)
    for region in range(1, n_regions + 1):
        held = sorted_effect.where(sorted_labels == region, 0).cumsum(1)
        total = held[:, -1:]
        last = torch.searchsorted(held, mass * (1 - _ROUNDING) * total).clamp_max(held.shape[1] - 1)
        least[:, region] = sorted_density.gather(1, last).where(total > 0, torch.inf)[:, 0]
    dense = density >= least.gather(1, labels.flatten(1)).view_as(density)
    return labels.where(dense & (density > 0), 0)


def closed(labels: Tensor, n_regions: int, radius: int) -> Tensor:
    """Return the regions with the gaps closed that no disc of this radius fits into.

    A pixel of another region stays there; one that several would close into goes to the first of them.

    Parameters
    ----------
    labels : Tensor of shape (n, H, W), int64
        Region of each pixel, from 1; 0 for none.
    n_regions : int
        Number of regions, 62 at most.
    radius : int
        In pixels; with 0 nothing changes.
    """
    if not radius:
        return labels
    # All regions at once: region j is bit j - 1 of a pixel, and a union is an "or".
    bits = torch.bitwise_left_shift(torch.ones_like(labels), (labels - 1).clamp_min(0)) * (labels > 0)
    bits = bits.to(torch.uint8) if n_regions <= 8 else bits
    offsets = _disc(radius)
    # A margin of twice the radius, so that the edge of the image closes nothing.
    grown = _shifted(F.pad(bits, [2 * radius] * 4), offsets, radius, torch.bitwise_or)
    kept = _shifted(grown, offsets, radius, torch.bitwise_and)
    result = labels
    for region in range(n_regions, 0, -1):
        inside = torch.bitwise_and(kept, 1 << (region - 1)) > 0
        result = result.masked_fill(inside & (labels == 0), region)
    return result


def opened(labels: Tensor, n_regions: int, width: int) -> Tensor:
    """Return the regions without the parts that no square of ``width + 1`` pixels fits into: threads and bridges.

    A region that is thin throughout, such as a line, stays as it is.

    Parameters
    ----------
    labels : Tensor of shape (n, H, W), int64
        Region of each pixel, from 1; 0 for none.
    n_regions : int
        Number of regions.
    width : int
        In pixels; with 0 nothing changes.
    """
    side = width + 1
    if not width or min(labels.shape[1:]) < side:
        return labels
    values = labels.float()[:, None]
    highest, lowest = F.max_pool2d(values, side, 1), -F.max_pool2d(-values, side, 1)
    squares = F.pad(highest * (highest == lowest), [width] * 4)
    thick = F.max_pool2d(squares, side, 1)[:, 0].to(labels.dtype)
    stays = labels.new_zeros(len(labels), n_regions + 1).scatter_(1, thick.flatten(1), 1)
    return labels.where((thick > 0) | (stays.gather(1, labels.flatten(1)).view_as(labels) == 0), 0)


def _disc(radius: int) -> list[tuple[int, int]]:
    steps = range(-radius, radius + 1)
    return [(down, right) for down in steps for right in steps if down**2 + right**2 <= (radius + 0.5) ** 2]


def _shifted(
    bits: Tensor, offsets: list[tuple[int, int]], radius: int, join: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Join the shifted copies; a margin of `radius` goes."""
    height, width = bits.shape[1] - 2 * radius, bits.shape[2] - 2 * radius
    joined = None
    for down, right in offsets:
        part = bits[:, radius + down : radius + down + height, radius + right : radius + right + width]
        joined = part if joined is None else join(joined, part)
    assert joined is not None
    return joined

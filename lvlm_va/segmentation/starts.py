"""Where EM starts: cells around centres that are chosen among the pixels of each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lvlm_va.segmentation.cells import cell_moments

# Pixels that are worked on together: a few arrays of them stay in a processor's caches.
_PART_PIXELS = 2**16


def draw_uniforms(seed: int, n_restarts: int, n_components: int) -> Tensor:
    """Return the random numbers of all starts, float64 (n_restarts, n_components), from the seed alone.

    All images share them; each turns them into pixels through its own weights. So a start depends on
    nothing but the seed and the image.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_restarts, n_components, generator=generator, dtype=torch.float64)


def kmeans_plus_plus(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mixture that the Voronoi cells of weighted k-means++ centres make.

    The first centre is a pixel drawn with probability proportional to its weight; each further one with
    probability proportional to its weight times its squared distance, in pixels, to the nearest centre so far
    (Arthur and Vassilvitskii 2007). Each pixel belongs to its nearest centre, and a component starts with the
    share, mean and covariance of the weight in its cell, plus the variance of a uniform pixel, so that a cell
    of one pixel has a density.

    Parameters
    ----------
    weights : Tensor of shape (n, H, W), float64
        Weights >= 0.
    uniforms : Tensor of shape (J,), float64
        One number in [0, 1) per component; shared by the images.

    Returns
    -------
    means : Tensor of shape (n, J, 2), float64
        Means, in [0, 1].
    covariances : Tensor of shape (n, J, 2, 2), float64
        Covariances in the same coordinates.
    shares : Tensor of shape (n, J), float64
        Shares of the weight; 0 (component absent) past the number of pixels with weight.
    """
    return _around(weights, [partial(_inverse_cdf, uniform=uniform) for uniform in uniforms.tolist()])


def heaviest_farthest(weights: Tensor, n_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mixture that the Voronoi cells of centres make which are not drawn.

    As `kmeans_plus_plus`, but each centre is the likeliest pixel: the heaviest, then the one with the largest weight
    times squared distance to the centres before.

    Parameters
    ----------
    weights : Tensor of shape (n, H, W), float64
        Weights >= 0.
    n_components : int
        Number of components, J.

    Returns
    -------
    means, covariances, shares
        As for `kmeans_plus_plus`.
    """
    return _around(weights, [lambda chances: chances.argmax(1)] * n_components)


def parts_for_the_cache(maps: Tensor) -> Sequence[Tensor]:
    """Return maps (n, H, W) a few at a time on the CPU, where a pass over many would go to memory."""
    if maps.device.type != "cpu":
        return [maps]
    n, height, width = maps.shape
    # Never one of several alone: torch adds up a single image in another order.
    images = max(3, _PART_PIXELS // (height * width))
    return maps.tensor_split(max(1, math.ceil(n / images)))


# From chances (n, pixels) to one pixel of each image, whose chance is positive where any is.
_Choice = Callable[[Tensor], Tensor]


def _around(weights: Tensor, choices: Sequence[_Choice]) -> tuple[Tensor, Tensor, Tensor]:
    parts = [_cells_around(part, choices) for part in parts_for_the_cache(weights)]
    means, covariances, shares = (torch.cat(values) for values in zip(*parts, strict=True))
    return means, covariances, shares


def _cells_around(weights: Tensor, choices: Sequence[_Choice]) -> tuple[Tensor, Tensor, Tensor]:
    _, height, width = weights.shape
    # Centres are pixels, so squared distances are whole numbers and exact: ties fall the same way in every
    # batch and on every device.
    row, column = torch.arange(height, device=weights.device), torch.arange(width, device=weights.device)
    nearest = torch.ones_like(weights)
    cells = torch.zeros(weights.shape, dtype=torch.int64, device=weights.device)
    for component, choose in enumerate(choices, start=1):
        chances = (weights * nearest).flatten(1)
        centre = choose(chances)
        row_distance = (row - (centre // width)[:, None]).double().square()
        column_distance = (column - (centre % width)[:, None]).double().square()
        distance = row_distance[:, :, None] + column_distance[:, None, :]
        if component == 1:
            nearest = distance
            cells.fill_(1)
            continue
        # Where no pixel is left that is not a centre itself, there is no further component.
        possible = chances.gather(1, centre[:, None])[:, 0] > 0
        nearer = (distance < nearest).logical_and_(possible[:, None, None])
        nearest = torch.minimum(distance, nearest)
        cells.masked_fill_(nearer, component)
    shares, means, covariances = cell_moments(weights, cells, len(choices))
    pixel = weights.new_tensor([1 / (12 * height**2), 1 / (12 * width**2)])
    return means, covariances + pixel.diag(), shares


def _inverse_cdf(chances: Tensor, uniform: float) -> Tensor:
    """Return, for each row of chances (n, M), the first entry whose cumulative sum exceeds the level."""
    cumulative = chances.cumsum(1)
    total = cumulative[:, -1:]
    # Strictly below the total, or rounding could point past the last entry with a chance.
    level = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, level, right=True).squeeze(1).clamp_max(cumulative.shape[1] - 1)

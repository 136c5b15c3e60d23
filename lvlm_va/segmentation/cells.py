"""From pixels cut into cells to a `Segmentation`, in chunks of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lvlm_va.common.effect import Effect
from lvlm_va.segmentation.checks import check_images
from lvlm_va.segmentation.effect import check_attributions, pixel_effect, shares_of_effect
from lvlm_va.segmentation.types import Segmentation

# Float64 values per chunk in one (images, pixels, segments) array: 64 MiB, a few of which are alive at once.
_CHUNK_ELEMENTS = 2**23


def coordinates(size: int, like: Tensor) -> Tensor:
    """Return the centres of `size` pixels in [0, 1], float64, on the device of `like`."""
    return (torch.arange(size, dtype=torch.float64, device=like.device) + 0.5) / size


def cell_shares(effect: Tensor, labels: Tensor, n_cells: int) -> Tensor:
    """Return the effect in each cell.

    Parameters
    ----------
    effect : Tensor of shape (n, H, W), float64
        Effect of each pixel.
    labels : Tensor of shape (n, H, W), int64
        Cell of each pixel, from 1; 0 for none.
    n_cells : int
        Number of cells, J.

    Returns
    -------
    Tensor of shape (n, J), float64
        Effect of cells 1..J.
    """
    # A loop rather than scatter_add: on a GPU that one adds in no fixed order.
    sums = [effect.where(labels == cell, 0).sum((1, 2)) for cell in range(1, n_cells + 1)]
    return torch.stack(sums, 1)


def cell_moments(effect: Tensor, labels: Tensor, n_cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return share, mean and covariance of the effect in each cell.

    Parameters
    ----------
    effect, labels, n_cells
        As for `cell_shares`.

    Returns
    -------
    shares : Tensor of shape (n, J), float64
        Effect in each cell.
    means : Tensor of shape (n, J, 2), float64
        Mean (row, column) of the effect, in [0, 1]; 0 where a cell has no effect.
    covariances : Tensor of shape (n, J, 2, 2), float64
        Covariances of the effect in the same coordinates; 0 where a cell has no effect.
    """
    _, height, width = effect.shape
    rows, columns = coordinates(height, effect), coordinates(width, effect)
    shares, means, covariances = [], [], []
    for cell in range(1, n_cells + 1):
        inside = effect.where(labels == cell, 0)
        total = inside.sum((1, 2))
        inside /= total.where(total > 0, 1)[:, None, None]
        row_marginal, column_marginal = inside.sum(2), inside.sum(1)
        row_mean, column_mean = (row_marginal * rows).sum(1), (column_marginal * columns).sum(1)
        row_deviation, column_deviation = rows - row_mean[:, None], columns - column_mean[:, None]
        row_variance = (row_marginal * row_deviation.square()).sum(1)
        column_variance = (column_marginal * column_deviation.square()).sum(1)
        covariance = torch.einsum("nhw,nh,nw->n", inside, row_deviation, column_deviation)
        shares.append(total)
        means.append(torch.stack([row_mean, column_mean], 1))
        covariances.append(torch.stack([row_variance, covariance, covariance, column_variance], 1))
    return torch.stack(shares, 1), torch.stack(means, 1), torch.stack(covariances, 1).unflatten(2, (2, 2))


def sorted_segmentation(labels: Tensor, shares: Tensor, means: Tensor, covariances: Tensor) -> Segmentation:
    """Return the cells as segments: numbered by share, largest first, without those whose share is 0.

    Parameters
    ----------
    labels : Tensor of shape (n, H, W), int64
        Cell of each pixel, from 1; 0 for none. Pixels of dropped cells get 0.
    shares : Tensor of shape (n, J), float64
        Shares of the cells; 0 marks a cell that is to be dropped.
    means : Tensor of shape (n, J, 2), float64
        Their means.
    covariances : Tensor of shape (n, J, 2, 2), float64
        Their covariances.

    Returns
    -------
    Segmentation
        With J columns.
    """
    shares, order = shares.sort(dim=1, descending=True, stable=True)
    absent = shares <= 0
    number = (~absent).cumsum(1).masked_fill(absent, 0)
    # Column 0 stays 0: a pixel without a cell has no segment.
    renumber = torch.zeros(labels.shape[0], shares.shape[1] + 1, dtype=torch.int64, device=labels.device)
    renumber.scatter_(1, order + 1, number)
    rows = torch.arange(labels.shape[0], device=labels.device)[:, None]
    return Segmentation(
        labels=renumber.gather(1, labels.flatten(1)).view_as(labels),
        n_segments=(~absent).sum(1),
        shares=shares.clamp_max(1),
        means=means[rows, order].masked_fill(absent[..., None], torch.nan),
        covariances=covariances[rows, order].masked_fill(absent[..., None, None], torch.nan),
    )


def segmentation_of_cells(effect: Tensor, cells: Tensor, n_cells: int, min_share: float) -> Segmentation:
    """Return the cells that hold at least `min_share` of the effect as segments.

    Parameters
    ----------
    effect : Tensor of shape (n, H, W), float64
        Share of the image's effect in each pixel.
    cells : Tensor of shape (n, H, W), int64
        Cell of each pixel, from 1.
    n_cells : int
        Number of cells.
    min_share : float
        Least share of a segment. Pixels of smaller cells, and pixels without effect, belong to no segment.
    """
    labels = cells * (effect > 0)
    shares, means, covariances = cell_moments(effect, labels, n_cells)
    return sorted_segmentation(labels, shares.where(shares >= min_share, 0), means, covariances)


def segment_in_chunks(
    segment: Callable[[Tensor, slice], Segmentation], attributions: Tensor, effect: Effect, n_segments: int
) -> Segmentation:
    """Segment a few images at a time, so that memory does not grow with their number.

    Parameters
    ----------
    segment : callable (effect, rows) -> Segmentation
        Segments images `rows`, given the share of the effect in each of their pixels, float64 (k, H, W).
    attributions : Tensor of shape (n, C, H, W)
        Attributions.
    effect : {"positive", "absolute"}
        Which effect of theirs is cut into segments.
    n_segments : int
        Number of segments that bounds the memory.
    """
    effects = pixel_effect(attributions, effect)
    n, height, width = effects.shape
    size = max(1, _CHUNK_ELEMENTS // (height * width * n_segments))
    chunks = [slice(start, start + size) for start in range(0, max(n, 1), size)]
    found = concatenate_segmentations([segment(shares_of_effect(effects[rows]), rows) for rows in chunks])
    return replace(found, effect=effect)


def segment_images(
    cells_of: Callable[[Tensor], Tensor],
    attributions: Tensor,
    images: Tensor,
    *,
    n_segments: int,
    min_share: float,
    effect: Effect,
) -> Segmentation:
    """Cut each image into cells by its looks, and keep the cells with the largest shares of the effect.

    Parameters
    ----------
    cells_of : callable (image) -> Tensor
        Cells of an image (C, H, W): an int64 tensor of shape (H, W), from 1.
    attributions, images : Tensor of shape (n, C, H, W)
        Attributions, and what they are of.
    n_segments : int
        Most segments that are kept.
    min_share : float
        Least share of a segment.
    effect : {"positive", "absolute"}
        Which effect counts.

    Raises
    ------
    ValueError
        If the images do not fit the attributions, or are not finite.
    """
    check_attributions(attributions)
    check_images(images, attributions)

    def segment(shares: Tensor, rows: slice) -> Segmentation:
        cells = torch.zeros_like(shares, dtype=torch.int64)
        for row, image in enumerate(images[rows]):
            cells[row] = cells_of(image.detach())
        found = max(int(cells.max()) if len(cells) else 0, n_segments)
        return _keep_strongest(segmentation_of_cells(shares, cells, found, min_share), n_segments)

    return segment_in_chunks(segment, attributions, effect, n_segments)


def _keep_strongest(segmentation: Segmentation, most: int) -> Segmentation:
    """Keep the first `most` segments and columns."""
    return replace(
        segmentation,
        labels=segmentation.labels.masked_fill(segmentation.labels > most, 0),
        n_segments=segmentation.n_segments.clamp_max(most),
        shares=segmentation.shares[:, :most],
        means=segmentation.means[:, :most],
        covariances=segmentation.covariances[:, :most],
    )


def concatenate_segmentations(parts: Sequence[Segmentation]) -> Segmentation:
    """Return the segmentations of several batches as one, as wide as the widest.

    Parameters
    ----------
    parts : sequence of Segmentation
        At least one; all of images of one size, of one kind of effect and with one rim.

    Returns
    -------
    Segmentation
        The images in the given order; columns that a part lacks hold shares of 0 and NaN moments.

    Raises
    ------
    ValueError
        If there is nothing to concatenate, or the parts are of different effects or rims.
    """
    if not parts:
        raise ValueError("The 'parts' argument must hold at least one Segmentation. Got none instead.")
    effects = sorted({part.effect for part in parts})
    if len(effects) > 1:
        raise ValueError(
            f"The 'parts' argument must be segments of one kind of effect. Got {effects} instead."
        )
    rims = sorted({part.rim for part in parts})
    if len(rims) > 1:
        raise ValueError(f"The 'parts' argument must be segments with one rim. Got {rims} instead.")
    if len(parts) == 1:
        return parts[0]
    width = max(part.shares.shape[1] for part in parts)
    return Segmentation(
        labels=torch.cat([part.labels for part in parts]),
        n_segments=torch.cat([part.n_segments for part in parts]),
        shares=torch.cat([widen(part.shares, width, 0.0) for part in parts]),
        means=torch.cat([widen(part.means, width, torch.nan) for part in parts]),
        covariances=torch.cat([widen(part.covariances, width, torch.nan) for part in parts]),
        effect=parts[0].effect,
        rim=parts[0].rim,
    )


def widen(values: Tensor, width: int, fill: float) -> Tensor:
    """Return (n, J, ...) values as (n, width, ...), with `fill` in the new columns."""
    missing = values.new_full((values.shape[0], width - values.shape[1], *values.shape[2:]), fill)
    return torch.cat([values, missing], 1)

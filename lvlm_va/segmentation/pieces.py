"""The connected pieces of regions."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

# Pixels that share a side are neighbours, within a plane.
_NEIGHBOURS = np.zeros((3, 3, 3), bool)
_NEIGHBOURS[1] = ndimage.generate_binary_structure(2, 1)


def connected_pieces(effect: Tensor, labels: Tensor, n_regions: int, min_share: float, most: int) -> Tensor:
    """Return the strongest connected pieces of the regions.

    Parameters
    ----------
    effect : Tensor of shape (n, H, W), float64
        Share of the image's effect in each pixel.
    labels : Tensor of shape (n, H, W), int64
        Region of each pixel, from 1; 0 for none.
    n_regions : int
        Number of regions.
    min_share : float
        Least share of the effect of a piece; of an image whose pieces are all weaker the strongest stays.
    most : int
        Most pieces of an image.

    Returns
    -------
    Tensor of shape (n, H, W), int64
        Piece of each pixel, from 1, strongest first; 0 for none.
    """
    number_pieces = numbered if labels.device.type == "cpu" else numbered_anywhere
    piece = number_pieces(labels, n_regions)
    last = piece.flatten(1).amax(1) if piece.numel() else piece.new_zeros(len(piece))
    n_pieces = int(last.max()) if len(last) else 0
    # Not a bincount, which on a GPU adds in no fixed order.
    totals = effect.new_zeros(n_pieces + 1)
    shares = totals.index_put_((piece.flatten(),), effect.flatten(), accumulate=True)[1:]
    # Pieces are numbered image by image, so those of an image follow each other.
    number = torch.arange(n_pieces, device=labels.device)
    image = torch.searchsorted(last.cummax(0).values, number + 1)
    order = shares.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    rank = torch.empty_like(number)
    rank[order] = number - torch.searchsorted(image, image[order])
    kept = (rank < most) & ((shares >= min_share) | (rank == 0)) & (shares > 0)
    return torch.cat([number.new_zeros(1), (rank + 1) * kept])[piece]


def numbered(labels: Tensor, n_regions: int) -> Tensor:
    """Return the piece of each pixel, from 1: by image, then by region, then in the order of their first pixels."""
    n, height, width = labels.shape
    # A plane for each region, so that one pass over all finds the pieces of all.
    planes = labels.numpy()[:, None] == np.arange(1, n_regions + 1)[:, None, None]
    pieces, _ = ndimage.label(planes.reshape(n * n_regions, height, width), _NEIGHBOURS)
    return torch.from_numpy(pieces.reshape(n, n_regions, height, width).max(1, initial=0).astype(np.int64))


def numbered_anywhere(labels: Tensor, n_regions: int) -> Tensor:
    """Return the same on any device, where nothing has to leave it.

    Each pixel points to the first pixel that it knows of in its piece: it asks its neighbours, and goes where the
    pixel points that it points to, until no pixel learns anything new.
    """
    pixel = torch.arange(labels.numel(), device=labels.device).view_as(labels)
    first = pixel
    while True:
        asked = first
        for dim in (1, 2):
            size = labels.shape[dim] - 1
            one, other = (labels.narrow(dim, start, size) for start in (0, 1))
            before, after = (asked.narrow(dim, start, size) for start in (0, 1))
            least = torch.minimum(before, after).where(one == other, torch.iinfo(torch.int64).max)
            asked = asked.clone()
            for start in (0, 1):
                part = asked.narrow(dim, start, size)
                part.copy_(torch.minimum(part, least))
        found = asked.flatten()[asked]
        if torch.equal(found, first):
            break
        first = found
    # By image, then region, then first pixel.
    row = pixel.div(labels[0].numel() if len(labels) else 1, rounding_mode="floor")
    inside = labels > 0
    region = row * (n_regions + 1) + labels
    key = (region * labels.numel() + first)[inside]
    result = torch.zeros_like(labels)
    result[inside] = torch.unique(key, return_inverse=True)[1] + 1
    return result

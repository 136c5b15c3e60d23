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
        Piece of each pixel, from 1, strongest first; 0 for none. It is found on the CPU, whatever the device.
    """
    n, height, width = labels.shape
    regions, weights = labels.cpu().numpy(), effect.cpu().numpy()
    # A plane for each region, so that one pass over all finds the pieces of all.
    planes = regions[:, None] == np.arange(1, n_regions + 1)[:, None, None]
    pieces, n_pieces = ndimage.label(planes.reshape(n * n_regions, height, width), _NEIGHBOURS)
    piece = pieces.reshape(n, n_regions, height, width).max(1, initial=0)
    shares = np.bincount(piece.ravel(), weights.ravel(), n_pieces + 1)[1:]
    # Pieces are numbered plane by plane, so those of an image follow each other.
    last = piece.max((1, 2), initial=0)
    image = np.searchsorted(np.maximum.accumulate(last), np.arange(1, n_pieces + 1))
    order = np.lexsort((-shares, image))
    rank = np.empty(n_pieces, np.int64)
    rank[order] = np.arange(n_pieces) - np.searchsorted(image, image[order])
    kept = (rank < most) & ((shares >= min_share) | (rank == 0)) & (shares > 0)
    number = np.concatenate([[0], np.where(kept, rank + 1, 0)])
    return torch.from_numpy(number[piece]).to(labels.device)

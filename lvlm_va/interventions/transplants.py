"""Put pixels of one image into another: which into which, and how."""

from __future__ import annotations

import torch
from torch import Tensor

from lvlm_va.segmentation.smoothing import smoothed

# Standard deviation of the soft edge, in shorter sides: as that of `lvlm_va.segmentation.Regions`.
_SIGMA = 1 / 64
# Places that are tried for a mask elsewhere.
_N_SHIFTS = 16


def draw_partners(labels: Tensor, others: Tensor, n_each: int, generator: torch.Generator) -> Tensor:
    """Draw images of other classes for each image.

    Parameters
    ----------
    labels : Tensor of shape (m,), int64
        Class of each image.
    others : Tensor of shape (p,), int64
        Classes of those that are drawn from.
    n_each : int
        How many each image gets, at least 1.
    generator : torch.Generator
        Draws.

    Returns
    -------
    Tensor of shape (m, n_each), int64
        Positions in `others`, of which none comes twice before all came; -1 where all are of the image's class.
    """
    partners = torch.full((len(labels), n_each), -1)
    for label in labels.unique().tolist():
        rows, able = (labels == label).nonzero().flatten(), (others != label).nonzero().flatten()
        if len(able):
            n_drawn = len(rows) * n_each
            order = [
                able[torch.randperm(len(able), generator=generator)] for _ in range(-(-n_drawn // len(able)))
            ]
            partners[rows] = torch.cat(order)[:n_drawn].view(-1, n_each)
    return partners


def transplanted(images: Tensor, donors: Tensor, masks: Tensor) -> Tensor:
    """Return images with the masked pixels of others in their places.

    Parameters
    ----------
    images, donors : Tensor of shape (m, C, H, W), floating
        Images, and those that the pixels come from.
    masks : Tensor of shape (m, H, W), bool
        Which pixels. Around them both images are mixed, by a Gaussian as wide as a pixel of 64.

    Returns
    -------
    Tensor of shape (m, C, H, W)
        New images.
    """
    soft = smoothed(masks.to(torch.float64), _SIGMA * min(masks.shape[1:])).where(~masks, 1)[:, None]
    return torch.lerp(images, donors, soft.to(images.dtype))


def shifted_apart(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Return masks of the same shape elsewhere, with little or nothing in common with where they were.

    Parameters
    ----------
    masks : Tensor of shape (m, H, W), bool
        Masks.
    generator : torch.Generator
        Draws the shifts; what leaves the image comes in on the other side.

    Returns
    -------
    Tensor of shape (m, H, W), bool
        Of some random shifts, for each mask the one with the least overlap.
    """
    elsewhere = masks.clone()
    for row, mask in enumerate(masks):
        heights, widths = (torch.randint(side, (_N_SHIFTS,), generator=generator) for side in mask.shape)
        tried = [mask.roll(shift, (0, 1)) for shift in zip(heights.tolist(), widths.tolist(), strict=True)]
        elsewhere[row] = min(tried, key=lambda found: int((found & mask).sum()))
    return elsewhere

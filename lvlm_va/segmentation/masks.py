"""From verdicts to masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlm_va.ops import segment_masks
from lvlm_va.segmentation.types import Segmentation


def spurious_masks(segmentation: Segmentation, spurious: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Return the corrective masks ``A = sum_j R_j 1[C = j]`` (arXiv 2512.21985).

    Parameters
    ----------
    segmentation : Segmentation
        Segments C of n images, J at most.
    spurious : Tensor of shape (n, J), bool
        R: whether segment j + 1 was judged spurious.
    dtype : torch.dtype
        Type of the masks.

    Returns
    -------
    Tensor of shape (n, H, W)
        1 where a pixel belongs to a spurious segment, or to no segment and to the rim of a spurious one, else 0.
    """
    masks, rim = segment_masks(segmentation.labels, spurious, dtype=dtype), segmentation.rim
    if not rim:
        return masks
    # Small integers are exact in single precision, which every device pools.
    reached = F.max_pool2d(masks[:, None].float(), 2 * rim + 1, 1, rim)[:, 0]
    return masks.where(segmentation.labels > 0, reached.to(dtype))

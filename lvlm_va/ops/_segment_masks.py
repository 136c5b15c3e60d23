"""Verdicts and segments to masks."""

from __future__ import annotations

import torch
from torch import Tensor

from lvlm_va.ops._checks import require_device, require_shape, require_tensor
from lvlm_va.ops.reference.segment_masks import segment_masks as reference


def segment_masks(labels: Tensor, spurious: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mask of the pixels in segments that were judged spurious.

    ``A_n = sum_j R_nj 1[C_n = j]`` with verdicts R and segment map C.

    Parameters
    ----------
    labels : Tensor of shape (n, H, W), int64
        Segment of each pixel, from 1; 0 belongs to no segment and is never masked.
    spurious : Tensor of shape (n, J), bool
        True where segment j + 1 of the image was judged spurious.
    dtype : torch.dtype, default=torch.float32
        Dtype of the mask.

    Returns
    -------
    Tensor of shape (n, H, W), `dtype`
        1 where the image must not matter, else 0.

    Raises
    ------
    TypeError
        If an argument is no tensor, or of another dtype.
    ValueError
        If the shapes or devices do not fit, or a label lies outside 0..J.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.ops import segment_masks
    >>> segment_masks(torch.tensor([[[0, 1, 2]]]), torch.tensor([[False, True]]))
    tensor([[[0., 0., 1.]]])
    """
    require_tensor("labels", labels, "(n, H, W)", 3, (torch.int64,))
    require_tensor("spurious", spurious, "(n, J)", 2, (torch.bool,))
    n_segments = spurious.shape[1]
    require_shape("spurious", spurious, (labels.shape[0], n_segments), "with one row per image")
    require_device("spurious", spurious, "labels", labels)
    if labels.numel():
        low, high = (int(bound) for bound in labels.aminmax())
        if low < 0 or high > n_segments:
            raise ValueError(
                f"The 'labels' argument must lie in 0..{n_segments}, the number of columns of 'spurious'. "
                f"Got {low if low < 0 else high} instead."
            )
    return reference(labels, spurious, dtype)

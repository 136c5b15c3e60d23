"""Verdicts and segments to masks."""

from __future__ import annotations

import torch
from torch import Tensor

from lvlm_va.ops._checks import require_device, require_shape, require_tensor

# What a mask may be made of.
_DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)


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
        Dtype of the mask: bool, uint8, a signed integer, or floating up to float64.

    Returns
    -------
    Tensor of shape (n, H, W), `dtype`
        1 where the image must not matter, else 0.

    Raises
    ------
    TypeError
        If an argument is no tensor or of another dtype, or a mask cannot be made of `dtype`.
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
    if dtype not in _DTYPES:
        raise TypeError(
            "The 'dtype' argument must be bool, uint8, int8 to int64, float16, bfloat16, float32 or float64. "
            f"Got {dtype!r} instead."
        )
    # On the CPU the kernel sees every label anyway, and stops at a wrong one.
    if labels.device.type != "cpu" and not torch.compiler.is_compiling():
        _require_labels(labels, n_segments)
    try:
        masks: Tensor = torch.ops.lvlm_va.segment_masks.default(labels, spurious, dtype)
    except RuntimeError:
        _require_labels(labels, n_segments)
        raise
    return masks


def _require_labels(labels: Tensor, n_segments: int) -> None:
    if not labels.numel():
        return
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high > n_segments:
        raise ValueError(
            f"The 'labels' argument must lie in 0..{n_segments}, the number of columns of 'spurious'. "
            f"Got {low if low < 0 else high} instead."
        )

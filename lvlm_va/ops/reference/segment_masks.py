"""Oracle of the masks made from verdicts and segments."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_masks(labels: Tensor, spurious: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``sum_j spurious_j 1[labels = j]``; label 0 is never masked."""
    background = spurious.new_zeros((spurious.shape[0], 1))
    verdicts = torch.cat([background, spurious], dim=1).to(dtype)
    return verdicts.gather(1, labels.flatten(1)).reshape(labels.shape)

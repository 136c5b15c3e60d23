"""What flows through a round of critique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvlm_va.attribution import Explanation, concatenate_explanations
from lvlm_va.critique import Critique
from lvlm_va.segmentation import Segmentation, concatenate_segmentations


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of the training data chosen for critique: int64 tensor of shape (a,)."""

    indices: Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """Images chosen for critique, with their segments.

    Attributes
    ----------
    indices : Tensor of shape (a,), int64
        Rows of the training data.
    images : Tensor of shape (a, 3, H, W), uint8
        What the critic is shown of them.
    explanation : Explanation
        Attributions of the logits of their labels.
    segmentation : Segmentation
        Segments of those attributions.
    key : str
        Stands for everything that the segments depend on.
    """

    indices: Tensor
    images: Tensor
    explanation: Explanation
    segmentation: Segmentation
    key: str


@dataclass(frozen=True, eq=False)
class Round:
    """What one round of critique found.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier that was looked into.
    indices : Tensor of shape (a,), int64
        Rows of the training data that were critiqued.
    explanation : Explanation
        Attributions of the logits of their labels.
    segmentation : Segmentation
        Segments of those attributions.
    critiques : tuple of Critique
        What the critic said, one per image, with the judge's verdicts.
    key : str
        Stands for everything that the verdicts depend on.
    """

    module: nn.Module
    indices: Tensor
    explanation: Explanation
    segmentation: Segmentation
    critiques: tuple[Critique, ...]
    key: str


def chosen_indices(rounds: Sequence[Round]) -> Tensor:
    """Return the rows of the training data critiqued in these rounds, in order."""
    return torch.cat([torch.empty(0, dtype=torch.int64), *(part.indices for part in rounds)])


def join_portions(portions: Sequence[Round]) -> Round:
    """Return the portions of one round, which looked into one module, as that round."""
    return Round(
        portions[-1].module,
        chosen_indices(portions),
        concatenate_explanations([part.explanation for part in portions]),
        concatenate_segmentations([part.segmentation for part in portions]),
        tuple(critique for part in portions for critique in part.critiques),
        portions[-1].key,
    )

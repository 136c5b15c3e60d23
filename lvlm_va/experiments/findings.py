"""What a fitted classifier's critiques found, measured with the true masks."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.segmentation import positive_effect


def measure_findings(classifier: LVLMVAClassifier, masks: NDArray[Any]) -> dict[str, float]:
    """Return how well the critiqued images were chosen and their effect was cut.

    Parameters
    ----------
    classifier : LVLMVAClassifier
        Fitted with a critic.
    masks : ndarray of shape (n, H, W), bool
        True where a pixel of the training images is spurious.

    Returns
    -------
    dict of str to float
        ``spurious_images``, the share of critiqued images with a segment that has most of its positive effect on
        spurious pixels; ``spurious_effect``, the mean share of positive effect on these; ``purity``, the share of all
        segments' positive effect on that side, spurious or not, where most of its segment's is; and ``masked``, the
        share of the effect on spurious pixels that lies in segments judged spurious.
    """
    effect = positive_effect(classifier.explanation_.attributions).cpu()
    spurious = effect * torch.from_numpy(masks[classifier.alignment_set_])
    labels = classifier.segments_.labels.cpu()
    n_segments = classifier.segments_.shares.shape[1]
    inside, total = (_by_segment(part, labels, n_segments) for part in (spurious, effect))
    whole = effect.flatten(1).sum(1)
    caught = spurious * torch.from_numpy(classifier.masks_)
    return {
        "spurious_images": float((inside > total / 2).any(1).double().mean()),
        "spurious_effect": float((spurious.flatten(1).sum(1) / whole.where(whole > 0, 1)).mean()),
        "purity": float(torch.maximum(inside, total - inside).sum() / total.sum()),
        "masked": float(caught.sum() / spurious.sum()) if spurious.any() else 1.0,
    }


def _by_segment(effect: Tensor, labels: Tensor, n_segments: int) -> Tensor:
    """Return the sums (a, J) of effect in each segment; pixels of none are left out."""
    sums = effect.new_zeros(len(effect), n_segments + 1)
    return sums.scatter_add_(1, labels.flatten(1), effect.flatten(1))[:, 1:]

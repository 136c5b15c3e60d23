"""Measure a classifier before and after alignment on the same images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lvlm_va.data.stored_images import ImageRows
from lvlm_va.metrics.alignment import spurious_attribution_shares
from lvlm_va.modules.logits import predict_logits
from lvlm_va.report.measures import Measured, Measures
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.types import Aligned


def measure(
    job: AlignmentJob,
    aligned: Aligned,
    images: ImageRows,
    labels: Tensor,
    *,
    groups: ArrayLike | None = None,
    masks: Tensor | ArrayLike | None = None,
    what: str = "test images",
) -> Measures:
    """Return how right the classifier is on these images before and after alignment, and how right its reasons.

    Parameters
    ----------
    job : AlignmentJob
        Says how the classifier is explained, and which classes there are.
    aligned : Aligned
        The classifier before and after.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images that it was not trained on.
    labels : Tensor of shape (n,), int64
        Their class numbers.
    groups : array-like of shape (n,), default=None
        Group of each image; None takes the classes.
    masks : array-like of shape (n, H, W), default=None
        True where a pixel is known to be spurious.
    what : str, default="test images"
        Which images these are, in words.

    Returns
    -------
    Measures
        Of both.
    """
    names, explainer = np.asarray(job.data.class_names), job.options.explainer
    measured = []
    if masks is not None and not isinstance(masks, Tensor):
        masks = np.asarray(masks)
    for module in (aligned.start.module, aligned.latest.module):
        predictions = predict_logits(module, images, batch_size=job.options.training.batch_size).argmax(1)
        alignment = None
        if masks is not None:
            shares = torch.cat(
                [
                    spurious_attribution_shares(explanation.attributions.cpu(), masks[rows])
                    for rows, explanation in explainer.in_portions(module, images, labels)
                ]
            )
            alignment = 1 - float(shares[~shares.isnan()].mean())
        measured.append(Measured.of(names[labels.numpy()], names[predictions.numpy()], groups, alignment))
    return Measures(what, groups is not None, *measured)

"""Measure a classifier before and after alignment on the same images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lvlm_va._logits import predict_logits
from lvlm_va.attribution import Attributor, ReferenceSet
from lvlm_va.metrics import alignment_score
from lvlm_va.report.measures import Measured, Measures


def measure(
    before: nn.Module,
    after: nn.Module,
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    *,
    attributor: Attributor,
    references: ReferenceSet,
    batch_size: int,
    groups: ArrayLike | None = None,
    masks: Tensor | ArrayLike | None = None,
    what: str = "test images",
) -> Measures:
    """Return how right both classifiers are on these images, and how right their reasons.

    Parameters
    ----------
    before, after : torch.nn.Module
        The classifier before and after alignment.
    images : Tensor of shape (n, C, H, W)
        Images that it was not trained on.
    labels : Tensor of shape (n,), int64
        Their class numbers.
    class_names : tuple of str
        Names of the classes.
    attributor, references
        How the labels' logits are explained; needed with `masks` only.
    batch_size : int
        Images per batch of predictions.
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
    names = np.asarray(class_names)
    measured = []
    for module in (before, after):
        predictions = predict_logits(module, images, batch_size=batch_size).argmax(1)
        alignment = None
        if masks is not None:
            found = attributor.attribute(module, images, labels, references.for_images(images))
            alignment = alignment_score(found.attributions.cpu(), masks)
        measured.append(Measured.of(names[labels.numpy()], names[predictions.numpy()], groups, alignment))
    return Measures(what, groups is not None, *measured)

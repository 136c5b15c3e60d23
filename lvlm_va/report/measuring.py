"""Measure a classifier before and after alignment on the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from lvlm_va.attribution import Attributor, ReferenceSet
from lvlm_va.data.stored_images import ImageRows, portions, reading_ahead
from lvlm_va.metrics.alignment import spurious_attribution_shares
from lvlm_va.modules.logits import predict_logits
from lvlm_va.report.measures import Measured, Measures


def measure(
    before: nn.Module,
    after: nn.Module,
    images: ImageRows,
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
    images : Tensor or StoredImages of shape (n, C, H, W)
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
    if masks is not None and not isinstance(masks, Tensor):
        masks = np.asarray(masks)
    for module in (before, after):
        predictions = predict_logits(module, images, batch_size=batch_size).argmax(1)
        alignment = None
        if masks is not None:
            alignment = _alignment(module, images, labels, masks, attributor, references)
        measured.append(Measured.of(names[labels.numpy()], names[predictions.numpy()], groups, alignment))
    return Measures(what, groups is not None, *measured)


def _alignment(
    module: nn.Module,
    images: ImageRows,
    labels: Tensor,
    masks: Tensor | NDArray[Any],
    attributor: Attributor,
    references: ReferenceSet,
) -> float:
    """Return `lvlm_va.metrics.alignment_score` of a module."""
    found = []
    with reading_ahead(images, portions(images)):
        for rows in portions(images):
            part = images[rows]
            explanation = attributor.attribute(module, part, labels[rows], references.for_images(part))
            found.append(spurious_attribution_shares(explanation.attributions.cpu(), masks[rows]))
    shares = torch.cat(found)
    return 1 - float(shares[~shares.isnan()].mean())

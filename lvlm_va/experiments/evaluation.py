"""Measure a classifier on data whose spurious pixels and groups are known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap, ReferenceSet
from lvlm_va.datasets import DecoyData
from lvlm_va.metrics import alignment_score
from lvlm_va.modules.logits import predict_logits
from lvlm_va.report.measures import Measured


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How right a classifier is, and how right its reasons are.

    Attributes
    ----------
    measured : Measured
        Accuracies of groups and classes, and alignment.
    predictions : Tensor of shape (n,), int64
        Predicted class numbers.
    """

    measured: Measured
    predictions: Tensor

    def figures(self) -> dict[str, float]:
        """Return the measures by name."""
        return self.measured.figures()


def evaluate(
    module: nn.Module,
    data: DecoyData,
    references: ReferenceSet,
    *,
    batch_size: int = 1024,
    n_explained: int | None = None,
) -> Evaluation:
    """Measure a module on a data set with known spurious pixels.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    data : DecoyData
        Images, labels, masks of the spurious pixels and groups.
    references : ReferenceSet
        References of the attributions (DeepLIFT SHAP of the labels' logits).
    batch_size : int, default=1024
        Images per batch of predictions.
    n_explained : int or None, default=None
        How many images, from the first, alignment is measured on; None: all.

    Returns
    -------
    Evaluation
        The measures.
    """
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    predictions = predict_logits(module, images, batch_size=batch_size).argmax(1)
    shown = images[:n_explained]
    explanation = DeepLiftShap().attribute(module, shown, labels[:n_explained], references.for_images(shown))
    alignment = alignment_score(explanation.attributions, data.masks[:n_explained])
    return Evaluation(Measured.of(data.labels, predictions.numpy(), data.groups, alignment), predictions)

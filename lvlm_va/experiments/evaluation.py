"""Measure a classifier on data whose spurious pixels and groups are known."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap, ReferenceSet
from lvlm_va.datasets import DecoyData
from lvlm_va.metrics import GroupAccuracies, alignment_score, group_accuracies
from lvlm_va.modules.logits import predict_logits

MEASURES = (
    "accuracy",
    "worst_class_accuracy",
    "worst_group_accuracy",
    "average_group_accuracy",
    "alignment",
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How right a classifier is, and how right its reasons are.

    Attributes
    ----------
    groups : GroupAccuracies
        Accuracy, size and interval of each group.
    worst_class : float
        Accuracy of the class that fares worst.
    alignment : float
        Share of absolute attribution that lies outside the spurious pixels, in [0, 1].
    predictions : Tensor of shape (n,), int64
        Predicted class numbers.
    """

    groups: GroupAccuracies
    worst_class: float
    alignment: float
    predictions: Tensor

    def figures(self) -> dict[str, float]:
        """Return the `MEASURES` by name; the average over groups is plain."""
        values = (
            self.groups.overall,
            self.worst_class,
            self.groups.worst,
            self.groups.average,
            self.alignment,
        )
        return dict(zip(MEASURES, values, strict=True))


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
    return Evaluation(
        groups=group_accuracies(data.labels, predictions.numpy(), groups=data.groups),
        worst_class=group_accuracies(data.labels, predictions.numpy(), groups=data.labels).worst,
        alignment=alignment_score(explanation.attributions, data.masks[:n_explained]),
        predictions=predictions,
    )


def markdown_table(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return a Markdown table of the measures: means, and standard deviations over seeds.

    Parameters
    ----------
    rows : mapping of str to mapping of str to sequence of float
        Name of the row to measure to one value per seed.

    Returns
    -------
    str
        The table, without a newline at its end.
    """
    lines = [
        "| | " + " | ".join(name.replace("_", " ") for name in MEASURES) + " |",
        "|---" + "|---:" * len(MEASURES) + "|",
    ]
    for row, measures in rows.items():
        cells = []
        for name in MEASURES:
            values = measures[name]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append(f"| {row.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

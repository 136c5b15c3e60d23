"""What alignment did to the critiqued images: what the classifier says of them now, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from lvlm_va.attribution import Attributor, ReferenceSet
from lvlm_va.modules.logits import predict_logits


@dataclass(frozen=True, eq=False)
class Outcome:
    """The critiqued images as the classifier sees them after alignment, and what it said of them before.

    Attributes
    ----------
    attributions : Tensor of shape (a, H, W), float32
        Attributions, after alignment, of the logits of the images' labels, in logits, summed over channels.
    probabilities_before, probabilities_after : Tensor of shape (a, n_classes), float32
        Class probabilities.
    """

    attributions: Tensor
    probabilities_before: Tensor
    probabilities_after: Tensor


def find_outcome(
    before: nn.Module,
    after: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    attributor: Attributor,
    references: ReferenceSet,
    batch_size: int,
) -> Outcome:
    """Look at images with the classifier before and after alignment.

    Parameters
    ----------
    before, after : torch.nn.Module
        The classifier.
    images : Tensor of shape (a, C, H, W)
        Images.
    labels : Tensor of shape (a,), int64
        Their classes, whose logits are explained.
    attributor : Attributor
        How.
    references : ReferenceSet
        Against what.
    batch_size : int
        Images per batch of predictions.

    Returns
    -------
    Outcome
        In the order of the images.
    """
    explanation = attributor.attribute(after, images, labels, references.for_images(images))
    probabilities = [
        predict_logits(module, images, batch_size=batch_size).softmax(1).float() for module in (before, after)
    ]
    return Outcome(explanation.attributions.sum(1, dtype=torch.float64).float().cpu(), *probabilities)


def join_outcomes(parts: Sequence[Outcome]) -> Outcome:
    """Return the outcomes of several batches of images as one."""
    return Outcome(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Outcome)))

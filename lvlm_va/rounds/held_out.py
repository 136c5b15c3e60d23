"""Hold critiqued images out of alignment, and say after each epoch how far it has come on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Attributor, ReferenceSet, resolve_attributor
from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import subset
from lvlm_va.data.training_data import TrainingData
from lvlm_va.metrics.right_reasons import right_reasons_points
from lvlm_va.modules.logits import predict_logits


@dataclass(frozen=True, eq=False)
class HeldOutPoints:
    """What each held-out image adds to a module's `lvlm_va.metrics.right_reasons_accuracy`.

    Attributes
    ----------
    held_out : AlignmentSet
        Images, labels and what was judged spurious.
    attributor : Attributor
        How the labels' logits are attributed.
    references : ReferenceSet
        What they are measured against.
    batch_size : int
        Images per forward pass.
    """

    held_out: AlignmentSet
    attributor: Attributor
    references: ReferenceSet
    batch_size: int

    def __call__(self, module: nn.Module) -> Tensor:
        """Return the points (n,) of the module, in [0, 1]."""
        images, labels = self.held_out.images[:], self.held_out.labels
        predicted = predict_logits(module, images, batch_size=self.batch_size).argmax(1)
        explanation = self.attributor.attribute(module, images, labels, self.references.for_images(images))
        points = right_reasons_points(
            labels, predicted, attributions=explanation.attributions, masks=self.held_out.masks
        )
        return torch.from_numpy(points)


def n_held_out(n_critiqued: int, validation_fraction: float) -> int:
    """Return how many of the critiqued images are held out: at least one.

    Raises
    ------
    ValueError
        If none would be left to align with.
    """
    n = max(1, round(n_critiqued * validation_fraction))
    if n >= n_critiqued:
        raise ValueError(
            "The 'validation_fraction' argument must leave critiqued images to align with. "
            f"Got {validation_fraction!r} for {n_critiqued} critiqued; lower it or raise n_align."
        )
    return n


def hold_out(
    masked: AlignmentSet,
    critiqued: Tensor,
    data: TrainingData,
    parameters: Mapping[str, Any],
    references: ReferenceSet,
    seed: int,
) -> dict[str, Any]:
    """Draw critiqued images that alignment must not see.

    Parameters
    ----------
    masked : AlignmentSet
        What there is to align with; its first images are the critiqued ones.
    critiqued : Tensor of shape (a,), int64
        Rows of the training data that they are.
    data : TrainingData
        The training data.
    parameters : mapping of str to object
        The estimator's parameters.
    references : ReferenceSet
        What explanations are measured against.
    seed : int
        Of the draw.

    Returns
    -------
    dict of str to object
        For `lvlm_va.alignment.train`: ``alignment_set``, the rest; ``repeats``, which leaves the held-out images out of
        the plain rows too; ``points``.
    """
    n = n_held_out(len(critiqued), parameters["validation_fraction"])
    order = torch.randperm(len(critiqued), generator=torch.Generator().manual_seed(derive_seed(seed, 0)))
    drawn = order[:n]
    held_out = torch.zeros(len(masked.labels), dtype=torch.bool)
    held_out[drawn] = True
    repeats = torch.ones(len(data.labels), dtype=torch.int64)
    repeats[critiqued[drawn]] = 0
    attributor = resolve_attributor(parameters["attribution"])
    measured = AlignmentSet(masked.images[held_out], masked.labels[held_out], masked.masks[held_out])
    points = HeldOutPoints(measured, attributor, references, parameters["batch_size"])
    rest = AlignmentSet(subset(masked.images, ~held_out), masked.labels[~held_out], masked.masks[~held_out])
    return {"alignment_set": rest, "repeats": repeats, "points": points}

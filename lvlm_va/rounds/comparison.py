"""Whether alignment made a classifier better or worse, as far as the training data can tell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.training_data import TrainingData
from lvlm_va.interventions import TransplantTrial, transplant_trial
from lvlm_va.metrics import PairedAccuracy
from lvlm_va.modules.heads import decisions
from lvlm_va.modules.logits import predict_logits

# Training images that accuracy is compared on.
N_COMPARED = 500


@dataclass(frozen=True, eq=False)
class Comparison:
    """A classifier before and after alignment.

    Attributes
    ----------
    accuracy : PairedAccuracy
        On validation images; or else on training images, of those that were not critiqued where there are some: the
        shortcut still agrees with the class in them. Of several findings, each of an image counts.
    trial : TransplantTrial or None
        On images into which the spurious pixels of other classes were put, where it does not; None where nothing was
        judged spurious, or all images are of one class.
    masked_area, masked_effect : float
        Mean share of the pixels, and of the effect, that is masked in the critiqued images with masks; in [0, 1], 0
        without any.
    """

    accuracy: PairedAccuracy
    trial: TransplantTrial | None
    masked_area: float
    masked_effect: float

    @property
    def is_worse(self) -> bool:
        """Whether accuracy fell by more than noise, and not for the sake of images on which the shortcut misleads."""
        return self.accuracy.fell() and not (self.trial is not None and self.trial.right.rose())


def compare(
    modules: tuple[nn.Module, nn.Module],
    data: TrainingData,
    validation: TrainingData | None,
    critiqued: Tensor,
    masks: Tensor,
    masked_effect: Tensor,
    *,
    batch_size: int,
    seed: int,
) -> Comparison:
    """Compare a classifier before and after alignment; forwards only.

    Parameters
    ----------
    modules : (torch.nn.Module, torch.nn.Module)
        Before and after.
    data : TrainingData
        What both were trained on.
    validation : TrainingData or None
        What accuracy is compared on; None takes training images.
    critiqued : Tensor of shape (a,), int64
        Cases that were critiqued.
    masks : Tensor of shape (a, H, W), bool
        What is spurious in these.
    masked_effect : Tensor of shape (a,), floating
        Share of the effect of each that is judged spurious.
    batch_size : int
        Images at a time.
    seed : int
        Of what is drawn.
    """
    shown = data if validation is None else validation
    other = torch.ones(len(shown.labels), dtype=torch.bool)
    if validation is None:
        other[data.rows_of(critiqued)] = False
    rows = other.nonzero().flatten() if bool(other.any()) else torch.arange(len(other))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(derive_seed(seed, 0)))
    rows = rows[order[:N_COMPARED]].sort().values
    right = []
    for module in modules:
        said = [
            predict_logits(module, shown.images[part], batch_size=batch_size)
            for part in rows.split(batch_size)
        ]
        found = decisions(torch.cat(said), multilabel=data.multilabel)
        right.append((found == shown.labels[rows]).flatten())
    trial = transplant_trial(modules, data, critiqued, masks, batch_size=batch_size, seed=seed)
    area = masks.double().mean((1, 2))
    masked = area > 0
    shares = [float(found[masked].mean()) if bool(masked.any()) else 0.0 for found in (area, masked_effect)]
    return Comparison(PairedAccuracy.of(*right), trial, *shares)

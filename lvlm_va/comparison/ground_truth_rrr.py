"""Right for the right reasons with true masks: the bound that masks from critiques are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet
from lvlm_va.comparison.rival import MaskRival, RivalClassifier
from lvlm_va.data.inputs import warn_of_unusual_images
from lvlm_va.data.training_data import TrainingData


@dataclass(eq=False, repr=False)
class GroundTruthRRRClassifier(MaskRival):
    """Plain training, then alignment with the given masks of all images (RRR; Ross et al. 2017, arXiv 1703.03717).

    The penalty and its weight are those of `lvlm_va.LVLMVAClassifier`; only the masks come from elsewhere. To align
    a fresh net from its first batch on, as Ross et al. do, set ``epochs=0``.

    Parameters
    ----------
    module : optional
        As of `lvlm_va.comparison.RivalClassifier`.
    rrr_strength : float or "auto", default="auto"
        Weight of the penalty, for inputs in [0, 1]; "auto" lets it rise to 1, as
        in `lvlm_va.LVLMVAClassifier`.
    align_epochs : int, default=10
        Epochs of alignment.
    align_schedule : {"cooldown", "cosine", "linear", "step"}, callable or None, default="cooldown"
        Learning-rate schedule of the alignment.
    classes, image_shape, preprocess, attribution, references, n_references : optional
        Likewise, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RivalClassifier._parameter_constraints,
        "rrr_strength": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "align_epochs": [Interval(Integral, 0, None, closed="left")],
        "align_schedule": [str, callable, None],
    }

    rrr_strength: float | str = "auto"
    align_epochs: int = 10
    align_schedule: str | Callable[..., Any] | None = "cooldown"

    def _make_module(self, module: nn.Module, data: TrainingData, masks: Tensor, seed: int) -> nn.Module:
        warn_of_unusual_images(data.images[:].numpy())
        trained = self._train("train", module, data.images, data.labels, seed).module
        result = self._train(
            "align",
            trained,
            data.images,
            data.labels,
            seed,
            alignment_set=AlignmentSet(data.images, data.labels, masks),
            align_fraction=1.0,
            epochs=self.align_epochs,
            schedule=self.align_schedule,
            rrr_strength=self.rrr_strength,
        )
        return result.module

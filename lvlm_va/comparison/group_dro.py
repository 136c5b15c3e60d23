"""Group distributionally robust optimisation: train for the group that fares worst."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, cast

import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from lvlm_va.alignment import WorstGroupWeighting
from lvlm_va.comparison.groups import Groups
from lvlm_va.comparison.rival import GroupRival, RivalClassifier
from lvlm_va.data.training_data import TrainingData


@dataclass(eq=False, repr=False)
class GroupDROClassifier(GroupRival):
    """Group distributionally robust optimisation (GroupDRO; Sagawa et al. 2020, arXiv 1911.08731).

    Each batch's loss is the mean of the groups' losses with weights q_g, which grow by ``exp(step_size * loss_g)``
    with every batch; see `lvlm_va.alignment.WorstGroupWeighting`. As in the published runs, batches hold about as
    many images of every group: in an epoch those of a smaller group come several times.

    A net that fits every training image makes all losses 0, and then nothing is gained: stop early, or take a
    strong `l2` (published: 0.5 on Waterbirds, 0.05 on CelebA, as half of the weight decay).

    Parameters
    ----------
    module : optional
        As of `lvlm_va.comparison.RivalClassifier`.
    step_size : float, default=0.01
        Step of the weights, eta; 0.1 in Idrissi et al. (2022, arXiv 2110.14503).
    classes, image_shape, preprocess, attribution, references, n_references : optional
        Likewise, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.

    Attributes
    ----------
    group_names_ : tuple of str
        The groups.
    group_weights_ : ndarray of shape (n_groups,), float64
        Weights q_g after the last batch; sum to 1.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RivalClassifier._parameter_constraints,
        "step_size": [Interval(Real, 0, None, closed="neither")],
    }

    step_size: float = 0.01

    def _make_module(self, module: nn.Module, data: TrainingData, groups: Groups, seed: int) -> nn.Module:
        weighting = WorstGroupWeighting(torch.from_numpy(groups.numbers), self.step_size)
        repeats = torch.from_numpy(groups.evening_repeats())
        result = self._train(
            "train", module, data.images, data.labels, seed, repeats=repeats, weighting=weighting
        )
        self.group_names_ = groups.names
        self.group_weights_ = cast(WorstGroupWeighting, result.weighting).shares.double().cpu().numpy()
        return result.module

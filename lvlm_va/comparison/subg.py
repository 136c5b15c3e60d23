"""Plain training on a subset that holds as many images of every group."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lvlm_va.comparison.groups import Groups
from lvlm_va.comparison.rival import GroupRival
from lvlm_va.data.training_data import TrainingData


class SUBGClassifier(GroupRival):
    """Subsampling of large groups (SUBG; Idrissi et al. 2022, arXiv 2110.14503).

    From each group as many images as the smallest holds are drawn once, and the classifier is trained plainly on
    them. As these are few, the published runs take many epochs (Waterbirds 360, CelebA 60).

    Parameters
    ----------
    module, classes, image_shape, preprocess, attribution, references, n_references : optional
        As of `lvlm_va.comparison.RivalClassifier`, as what follows, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.

    Attributes
    ----------
    subset_ : ndarray of shape (s,), int64
        Rows of X that were trained on, in order.
    """

    def _make_module(self, module: nn.Module, data: TrainingData, groups: Groups, seed: int) -> nn.Module:
        self.subset_ = groups.balanced(np.random.default_rng(seed))
        rows = torch.from_numpy(self.subset_)
        return self._train("train", module, data.images[rows], data.labels[rows], seed).module

"""Empirical risk minimisation: plain training, what all others are measured against."""

from __future__ import annotations

from torch import nn

from lvlm_va.comparison.rival import PlainRival
from lvlm_va.data.training_data import TrainingData


class ERMClassifier(PlainRival):
    """Plain training: empirical risk minimisation.

    Parameters
    ----------
    module, classes, image_shape, preprocess, attribution, references, n_references : optional
        As of `lvlm_va.comparison.RivalClassifier`, as what follows, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.

    Examples
    --------
    >>> from lvlm_va.comparison import ERMClassifier
    >>> from lvlm_va.datasets import decoy_digits
    >>> data = decoy_digits("train")
    >>> clf = ERMClassifier("mlp", epochs=2, random_state=0).fit(data.images, data.labels)
    >>> clf.predict(data.images[:2]).shape
    (2,)
    """

    def _make_module(self, module: nn.Module, data: TrainingData, seed: int) -> nn.Module:
        return self._train("train", module, data.images, data.labels, seed).module

"""Deep feature reweighting: the last layer fitted anew on data balanced over the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from lvlm_va.common.timing import timed
from lvlm_va.comparison.errors import NotApplicableError
from lvlm_va.comparison.groups import Groups
from lvlm_va.comparison.l1_logistic import fit_l1_logistic
from lvlm_va.comparison.last_layer import embed, find_last_layer, set_last_layer
from lvlm_va.comparison.rival import GroupRival, RivalClassifier
from lvlm_va.data.training_data import TrainingData
from lvlm_va.metrics import worst_group_accuracy


@dataclass(eq=False, repr=False)
class DFRClassifier(GroupRival):
    """Deep feature reweighting (DFR; Kirichenko et al. 2023, arXiv 2204.02937).

    A net is trained plainly; then its last linear layer is replaced by a logistic regression with an l1 penalty on
    its inputs, fitted to images that the net was not trained on and that are balanced over the groups:

    1. One half of those images, cut down to as many of each group as the smallest holds, is fitted with every C; the
       one with the best worst-group accuracy on the other half is taken.
    2. `n_fits` times a fresh balanced subset of all of them is fitted with it, and the weights are averaged.

    With a trained `module` and ``epochs=0`` all images given to ``fit`` serve the last layer: pass held-out ones for
    the published setting (DFR_Tr^Val), the training images for the weaker DFR_Tr^Tr.

    Parameters
    ----------
    module : optional
        As of `lvlm_va.comparison.RivalClassifier`.
    holdout : float in [0, 1), default=0.2
        Share of each group, at least two images, kept from the training for the last layer. With 0 both use all
        images. Without effect where ``epochs=0``.
    Cs : sequence of float, default=(1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
        Inverse strengths of the penalty to choose from; the published ones.
    n_fits : int, default=20
        Fits to average; a single one costs about two points of worst-group accuracy on Waterbirds.
    classes, image_shape, preprocess, attribution, references, n_references : optional
        Likewise, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.

    Attributes
    ----------
    C_ : float
        The chosen inverse strength.
    reweighting_set_ : ndarray of shape (r,), int64
        Rows of X that the last layer was fitted to, in order.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RivalClassifier._parameter_constraints,
        "holdout": [Interval(Real, 0, 1, closed="left")],
        "Cs": ["array-like"],
        "n_fits": [Interval(Integral, 1, None, closed="left")],
    }

    holdout: float = 0.2
    Cs: Sequence[float] = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    n_fits: int = 20

    def _make_module(self, module: nn.Module, data: TrainingData, groups: Groups, seed: int) -> nn.Module:
        strengths = _check_strengths(self.Cs)
        if groups.sizes.min() < 2:
            lonely = groups.names[int(groups.sizes.argmin())]
            raise NotApplicableError(
                "The 'groups' argument must hold at least two images of each group, one to fit and one to choose C. "
                f"Got one of {lonely!r}."
            )
        find_last_layer(module, data.images[:2])  # fail before training
        rng = np.random.default_rng(seed)
        rows = rest = np.arange(len(data.labels))
        if self.epochs and self.holdout:
            rows, rest = groups.split(self.holdout, rng, at_least=2)
            if not len(rest):
                raise ValueError(
                    f"The 'holdout' argument must leave images to train on. Got {self.holdout} for groups of at most "
                    f"{groups.sizes.max()} images."
                )
        trained = self._train("train", module, data.images[rest], data.labels[rest], seed).module
        with timed(self.seconds_, "reweight"):
            layer = find_last_layer(trained, data.images[:2])
            embeddings = embed(trained, layer, data.images[rows], batch_size=self.batch_size)
            labels, groups = data.labels[rows], groups.take(rows)
            self.C_, start = _choose_strength(embeddings, labels, groups, len(self.classes_), strengths, rng)
            center, scale = _moments(embeddings)
            standard = (embeddings - center) / scale
            total = torch.zeros_like(start)
            for _ in range(self.n_fits):
                subset = groups.balanced(rng)
                total += fit_l1_logistic(
                    standard[subset], labels[subset], len(self.classes_), self.C_, start=start
                )
            mean = total / self.n_fits
            weight = mean[:-1] / scale[:, None]
            set_last_layer(layer, weight.t(), mean[-1] - center @ weight)
        self.reweighting_set_ = rows
        return trained


def _choose_strength(
    embeddings: Tensor,
    labels: Tensor,
    groups: Groups,
    n_classes: int,
    strengths: Sequence[float],
    rng: np.random.Generator,
) -> tuple[float, Tensor]:
    """Return the C with the best worst-group accuracy on a held-out half, the largest of equals, and its weights."""
    fitted, scored = groups.split(0.5, rng)
    fitted = fitted[groups.take(fitted).balanced(rng)]
    center, scale = _moments(embeddings[fitted])
    standard = (embeddings - center) / scale
    best, best_accuracy, weights = (strengths[0], torch.empty(0)), -1.0, None
    for strength in sorted(strengths):  # each starts from the sparser solution before it
        weights = fit_l1_logistic(standard[fitted], labels[fitted], n_classes, strength, start=weights)
        predicted = (standard[scored] @ weights[:-1] + weights[-1]).argmax(1)
        accuracy = worst_group_accuracy(
            labels[scored].numpy(), predicted.numpy(), groups=groups.numbers[scored]
        )
        if accuracy >= best_accuracy:
            best, best_accuracy = (strength, weights), accuracy
    return best


def _moments(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature, 1 for a constant one."""
    scale = embeddings.std(0, correction=0)
    return embeddings.mean(0), torch.where(scale > 0, scale, 1.0)


def _check_strengths(strengths: Sequence[float]) -> tuple[float, ...]:
    values = np.asarray(strengths, dtype=float)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"The 'Cs' argument must hold one or more numbers > 0. Got {strengths!r} instead.")
    return tuple(values.tolist())

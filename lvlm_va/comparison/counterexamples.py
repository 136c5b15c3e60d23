"""Counterexample augmentation: the same images again, their spurious pixels replaced at random."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from lvlm_va.comparison.rival import MaskRival, RivalClassifier
from lvlm_va.data.training_data import TrainingData


@dataclass(eq=False, repr=False)
class CounterexampleClassifier(MaskRival):
    """Counterexamples (CE; Teso and Kersting 2019, CAIPI; compared in Friedrich et al. 2022, arXiv 2203.03668).

    Every image with a marked pixel is added again with its label, the marked pixels drawn uniformly between the
    smallest and the largest value in X (0 and 1 as a rule). Then they no longer tell the class, and plain
    training has no use for them.

    Parameters
    ----------
    module : optional
        As of `lvlm_va.comparison.RivalClassifier`.
    n_counterexamples : int, default=1
        Counterexamples made of each image.
    classes, image_shape, preprocess, attribution, references, n_references : optional
        Likewise, and the attributes.
    epochs, batch_size, lr, optimizer, schedule, l2, device, random_state, verbose : optional
        Likewise.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RivalClassifier._parameter_constraints,
        "n_counterexamples": [Interval(Integral, 1, None, closed="left")],
    }

    n_counterexamples: int = 1

    def _make_module(self, module: nn.Module, data: TrainingData, masks: Tensor, seed: int) -> nn.Module:
        images, labels = data.images[:], data.labels
        more, their_labels = counterexamples(images, labels, masks > 0, self.n_counterexamples, seed)
        images, labels = torch.cat([images, more]), torch.cat([labels, their_labels])
        return self._train("train", module, images, labels, seed).module


def counterexamples(
    images: Tensor, labels: Tensor, masks: Tensor, copies: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return images whose marked pixels were drawn at random, and their labels.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W)
        Images; they set the range of what is drawn.
    labels : Tensor of shape (n,), int64
        Their classes.
    masks : Tensor of shape (n, H, W), bool
        True where a pixel is replaced, in all channels.
    copies : int
        Counterexamples of each image with a marked pixel; one without has none.
    seed : int
        Seed of the draw.

    Returns
    -------
    images : Tensor of shape (m, C, H, W)
        The counterexamples.
    labels : Tensor of shape (m,), int64
        Their classes.
    """
    rows = masks.flatten(1).any(1).nonzero()[:, 0].repeat(copies)
    chosen = images[rows]
    low, high = images.min(), images.max()
    generator = torch.Generator().manual_seed(seed)
    noise = low + (high - low) * torch.rand(chosen.shape, generator=generator, dtype=images.dtype)
    return torch.where(masks[rows][:, None], noise, chosen), labels[rows]

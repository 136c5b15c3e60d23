"""Hold critiqued images out of alignment, and say after each epoch how far it has come on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Explainer
from lvlm_va.common.randomness import derive_seed
from lvlm_va.metrics.right_reasons import right_reasons_points
from lvlm_va.modules.heads import outcome_probabilities
from lvlm_va.modules.logits import predict_logits


@dataclass(frozen=True, eq=False)
class HeldOutPoints:
    """What each held-out image adds to a module's `lvlm_va.metrics.right_reasons_accuracy`.

    Attributes
    ----------
    held_out : AlignmentSet
        Images, labels and what was judged spurious.
    explainer : Explainer
        How the labels' logits are explained.
    batch_size : int
        Images per forward pass.
    """

    held_out: AlignmentSet
    explainer: Explainer
    batch_size: int

    def __call__(self, module: nn.Module) -> Tensor:
        """Return the points (n,) of the module, in [0, 1]."""
        images, outcomes = self.held_out.images[:], self.held_out.outcomes
        logits = predict_logits(module, images, batch_size=self.batch_size)
        predicted = outcome_probabilities(logits, self.held_out.findings).argmax(1)
        explanation = self.explainer.explain(module, images, outcomes)
        points = right_reasons_points(
            outcomes, predicted, attributions=explanation.attributions, masks=self.held_out.masks
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
            f"Got {validation_fraction!r} for {n_critiqued} critiqued; lower it or raise n_align (with drawn masks "
            "alone, draw more)."
        )
    return n


def draw_held_out(critiqued: Tensor, fraction: float, seed: int) -> Tensor:
    """Return the positions of the critiqued images that are held out; parameters as of `hold_out`.

    An image that comes several times is held out with all its findings.
    """
    images = torch.tensor(list(dict.fromkeys(critiqued.tolist())))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(seed, 0)))
    return torch.isin(critiqued, images[order[: n_held_out(len(images), fraction)]]).nonzero()[:, 0]


@dataclass(frozen=True, eq=False)
class AlignmentRows:
    """What one run of the alignment sees.

    Attributes
    ----------
    alignment_set : AlignmentSet
        Images with masks.
    repeats : Tensor of shape (n,), int64, or None
        How often each training image comes in an epoch; None for once.
    points : HeldOutPoints or None
        Says after each epoch how far alignment has come; None for no early stopping.
    """

    alignment_set: AlignmentSet
    repeats: Tensor | None = None
    points: HeldOutPoints | None = None


def hold_out(
    masked: AlignmentSet,
    critiqued: Tensor,
    n_images: int,
    fraction: float,
    explainer: Explainer,
    batch_size: int,
    seed: int,
) -> AlignmentRows:
    """Draw critiqued images that alignment must not see, in the alignment set or among the plain rows.

    Parameters
    ----------
    masked : AlignmentSet
        What there is to align with; its first images are the critiqued ones.
    critiqued : Tensor of shape (a,), int64
        Rows of the training data that they are.
    n_images : int
        How many training images there are.
    fraction : float in (0, 1)
        Share of the critiqued images to hold out.
    explainer : Explainer
        How the held-out images are explained.
    batch_size : int
        Images per forward pass.
    seed : int
        Of the draw.

    Returns
    -------
    AlignmentRows
        The rest, and the points of what was drawn.
    """
    drawn = draw_held_out(critiqued, fraction, seed)
    held_out = torch.zeros(len(masked.labels), dtype=torch.bool)
    held_out[drawn] = True
    repeats = torch.ones(n_images, dtype=torch.int64)
    repeats[critiqued[drawn]] = 0
    measured = replace(masked.select(held_out), images=masked.images[held_out])  # read once
    return AlignmentRows(masked.select(~held_out), repeats, HeldOutPoints(measured, explainer, batch_size))

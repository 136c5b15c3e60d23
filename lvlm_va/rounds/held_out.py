"""Hold critiqued images out of alignment, and say after each epoch how far it has come on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Explainer
from lvlm_va.common.randomness import derive_seed
from lvlm_va.common.warnings import warn
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


def draw_held_out(critiqued: Tensor, fraction: float, seed: int, groups: Tensor | None = None) -> Tensor:
    """Return the rows of the training data that are held out; parameters as of `hold_out`.

    An image that comes several times is held out with all its findings, and one of a group with all of that.
    """
    whose = torch.arange(int(critiqued.max()) + 1) if groups is None else groups
    drawn_from = torch.tensor(list(dict.fromkeys(whose[critiqued].tolist())))
    if len(drawn_from) < 2 and groups is not None:
        warn(
            "All critiqued images are of one group: early stopping holds some of its images out, not others'."
        )
        return draw_held_out(critiqued, fraction, seed)
    order = torch.randperm(len(drawn_from), generator=torch.Generator().manual_seed(derive_seed(seed, 0)))
    return torch.isin(whose, drawn_from[order[: n_held_out(len(drawn_from), fraction)]]).nonzero()[:, 0]


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
    groups: Tensor | None = None,
    indices: Tensor | None = None,
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
    groups : Tensor of shape (n,), int64, or None
        Whose each training image is; those of one group are held out together, critiqued or not.
    indices : Tensor of shape (m,), int64, or None
        Rows of the training data that all of `masked` is; None where that is the critiqued ones alone.

    Returns
    -------
    AlignmentRows
        The rest, and the points of what was drawn.
    """
    rows = draw_held_out(critiqued, fraction, seed, groups)
    held_out = torch.isin(critiqued if indices is None else indices, rows)
    is_critiqued = torch.arange(len(held_out)) < len(critiqued)
    repeats = torch.ones(n_images, dtype=torch.int64)
    repeats[rows] = 0
    to_measure = held_out & is_critiqued
    measured = replace(masked.select(to_measure), images=masked.images[to_measure])  # read once
    return AlignmentRows(masked.select(~held_out), repeats, HeldOutPoints(measured, explainer, batch_size))

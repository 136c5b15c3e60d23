"""Extend the verdicts of rounds of critique to other training images, and make masks of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import reading_ahead
from lvlm_va.data.training_data import TrainingData
from lvlm_va.propagation import Propagated, Propagation, VerdictLearner, find_consensus
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.segment_finder import SegmentFinder
from lvlm_va.rounds.types import Round, chosen_indices
from lvlm_va.runs.shards import in_shards
from lvlm_va.segmentation import Segmentation, pixel_effect, spurious_masks


@dataclass(frozen=True, eq=False)
class _Judged:
    """Rows, their masks, and the probabilities of their segments."""

    indices: Tensor
    masks: Tensor
    p_spurious: Tensor


def propagate(
    rounds: Sequence[Round],
    data: TrainingData,
    options: AlignmentOptions,
    seed: int,
    folder: Path | None = None,
) -> Propagated:
    """Judge segments of other training images as a critic would, and the critiqued ones once more.

    With several processes it is the work of all.

    Parameters
    ----------
    rounds : sequence of Round
        What was critiqued. Each round's verdicts are extended to explanations of the module that it looked into; an
        image's masks of all rounds are joined.
    data : TrainingData
        The images.
    options : AlignmentOptions
        How explanations are made and cut, verdicts learned, and how far extended.
    seed : int
        Of all that is drawn.
    folder : Path or None, default=None
        Where `in_shards` keeps what is done.

    Returns
    -------
    Propagated
        Masks of all rounds, the rest of the last.

    Raises
    ------
    ValueError
        If a round left no verdict to learn from.
    """
    how = options.propagation
    assert how is not None
    critiqued = chosen_indices(rounds)
    rows = torch.cat([critiqued, _others(critiqued, len(data.labels), how.n_images, seed)])
    masks = torch.zeros(len(rows), *data.images.shape[2:], dtype=torch.bool)
    consensus = torch.zeros(data.images.shape[2:], dtype=torch.bool)
    for number, found in enumerate(rounds, start=1):
        finder = SegmentFinder(found.module, data, options, seed)
        shards = partial(
            in_shards,
            folder,
            _Judged,
            name=f"round-{number}",
            progress="extend the verdicts" if options.verbose else None,
            ahead=partial(reading_ahead, data.images),
        )
        extended = _extend(found, rows, finder, how, seed, shards, masks)
        consensus |= extended.consensus
    # What a person says of an image holds against the verdicts of every round.
    for found in rounds:
        masks[torch.isin(rows, found.indices).nonzero()[:, 0]] &= ~_spared(found)
    return replace(extended, consensus=consensus)


def _others(critiqued: Tensor, n: int, n_images: int | None, seed: int) -> Tensor:
    free = np.setdiff1d(np.arange(n), critiqued.numpy())
    n_most = len(free) if n_images is None else max(0, n_images - len(critiqued))
    if n_most < len(free):
        rng = np.random.default_rng(derive_seed(seed, len(free)))
        free = np.sort(rng.choice(free, n_most, replace=False))
    return torch.from_numpy(free)


def _extend(
    found: Round,
    rows: Tensor,
    finder: SegmentFinder,
    how: Propagation,
    seed: int,
    in_shards_of: Callable[[Tensor, Callable[[Tensor], _Judged]], Iterable[_Judged]],
    masks: Tensor,
) -> Propagated:
    """Extend the verdicts of one round to these rows, and add what is spurious by them to their masks (a, H, W)."""
    learner, p_critiqued = _learn(found, finder, how, seed)

    def masked(segmentation: Segmentation, p: Tensor) -> Tensor:
        return spurious_masks(segmentation, p >= how.confidence, dtype=torch.bool)

    def judge(part: Tensor) -> _Judged:
        segmentation, features = finder.find(part)
        exists = ~features[..., 0].isnan()
        p = torch.full(exists.shape, math.nan, dtype=torch.float64)
        p[exists] = torch.from_numpy(learner.p_spurious(features[exists].numpy()))
        return _Judged(part, masked(segmentation, p), p)

    place = torch.empty(int(rows.max()) + 1, dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    effect = pixel_effect(found.explanation.attributions, found.segmentation.effect)
    critiqued_masks = masked(found.segmentation, p_critiqued)
    consensus = find_consensus(critiqued_masks, effect)
    wanted = consensus.in_place if how.consensus == "auto" else bool(how.consensus)
    agreed = consensus.mask & wanted

    # Masks are joined where they are: those of many images take more memory than all else.
    masks[place[found.indices]] |= critiqued_masks | agreed
    judged = [(found.indices, p_critiqued)]
    for part in in_shards_of(rows[~torch.isin(rows, found.indices)], judge):
        masks[place[part.indices]] |= part.masks | agreed
        judged.append((part.indices, part.p_spurious))

    p_spurious = torch.full((len(rows), max(p.shape[1] for _, p in judged)), math.nan, dtype=torch.float64)
    for indices, p in judged:
        p_spurious[place[indices], : p.shape[1]] = p
    return Propagated(
        rows,
        p_spurious,
        masks,
        agreed,
        torch.tensor(consensus.coverage, dtype=torch.float64),
        torch.tensor(learner.agreement, dtype=torch.float64),
    )


def _learn(found: Round, finder: SegmentFinder, how: Propagation, seed: int) -> tuple[VerdictLearner, Tensor]:
    """Return who learned a round's verdicts, and the corrected probabilities (a, J) of its own segments."""
    known = finder.decided(found)
    if not len(known.spurious):
        raise ValueError(
            "The 'propagate' argument needs verdicts to extend. Got none that is not unsure. Have more images "
            "critiqued (n_align), or set propagate=False."
        )
    learner = VerdictLearner(how.classifier, seed % 2**32).fit(known)
    corrected = found.codes.values.clone()
    corrected[found.codes.decided] = torch.from_numpy(learner.p_out_of_fold)
    return learner, torch.where(found.codes.human, found.codes.values, corrected)


def _spared(found: Round) -> Tensor:
    """Return where (a, H, W) a person, or an unsure verdict, says that an image must not be masked."""
    codes = found.codes
    exists = torch.arange(codes.values.shape[1]) < found.segmentation.n_segments[:, None]
    spared = exists & (~codes.decided | (codes.human & (codes.values == 0)))
    return spurious_masks(replace(found.segmentation, rim=0), spared, dtype=torch.bool)

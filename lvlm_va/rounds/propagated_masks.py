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
from lvlm_va.common.warnings import warn
from lvlm_va.data.training_data import TrainingData
from lvlm_va.propagation import Propagated, Propagation, VerdictLearner, find_consensus
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.segment_finder import SegmentFinder
from lvlm_va.rounds.types import Round, chosen_indices
from lvlm_va.runs.shards import in_shards
from lvlm_va.segmentation import Segmentation, pixel_effect, spurious_masks


@dataclass(frozen=True, eq=False)
class _Judged:
    """Cases, their masks, and the probabilities of their segments."""

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
    """Judge segments of other cases as a critic would, and the critiqued ones once more.

    Verdicts on one finding are extended to that finding's cases alone: what is spurious for it may count for another.
    With several processes it is the work of all.

    Parameters
    ----------
    rounds : sequence of Round
        What was critiqued. Each round's verdicts are extended to explanations of the module that it looked into; a
        case's masks of all rounds are joined.
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
    cases = torch.cat([critiqued, _others(critiqued, data.n_cases, how.n_images, seed)])
    masks = torch.zeros(len(cases), *data.images.shape[2:], dtype=torch.bool)
    consensus = torch.zeros((), dtype=torch.bool)
    for number, found in enumerate(rounds, start=1):
        finder = SegmentFinder(found.module, data, options, seed)
        shards = partial(
            in_shards,
            folder,
            _Judged,
            name=f"round-{number}",
            progress="extend the verdicts" if options.verbose else None,
            ahead=data.reading_ahead,
        )
        extended = _extend(found, cases, data, finder, how, seed, shards, masks)
        consensus = consensus | extended.consensus
    # What a person says of an image holds against the verdicts of every round.
    for found in rounds:
        masks[torch.isin(cases, found.indices).nonzero()[:, 0]] &= ~_spared(found)
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
    cases: Tensor,
    data: TrainingData,
    finder: SegmentFinder,
    how: Propagation,
    seed: int,
    in_shards_of: Callable[[Tensor, Callable[[Tensor], _Judged]], Iterable[_Judged]],
    masks: Tensor,
) -> Propagated:
    """Extend the verdicts of one round to these cases, and add what is spurious by them to their masks (a, H, W)."""
    learners, p_critiqued, agreement = _learn(found, data, finder, how, seed)

    def masked(segmentation: Segmentation, p: Tensor) -> Tensor:
        return spurious_masks(segmentation, p >= how.confidence, dtype=torch.bool)

    def judge(part: Tensor) -> _Judged:
        segmentation, features = finder.find(part)
        exists = ~features[..., 0].isnan()
        p = torch.full(exists.shape, math.nan, dtype=torch.float64)
        for learner, own in zip(learners, data.by_finding(part), strict=True):
            if learner is not None:
                inside = torch.zeros_like(exists)
                inside[own] = exists[own]
                p[inside] = torch.from_numpy(learner.p_spurious(features[inside].numpy()))
        return _Judged(part, masked(segmentation, p), p)

    place = torch.empty(int(cases.max()) + 1, dtype=torch.int64)
    place[cases] = torch.arange(len(cases))
    effect = pixel_effect(found.explanation.attributions, found.segmentation.effect)
    critiqued_masks = masked(found.segmentation, p_critiqued)
    each = [find_consensus(critiqued_masks[own], effect[own]) for own in data.by_finding(found.indices)]
    agreed = torch.stack(
        [c.mask & (c.in_place if how.consensus == "auto" else bool(how.consensus)) for c in each]
    )

    # Masks are joined where they are: those of many images take more memory than all else.
    masks[place[found.indices]] |= critiqued_masks | agreed[found.indices % len(agreed)]
    judged = [(found.indices, p_critiqued)]
    for part in in_shards_of(cases[~torch.isin(cases, found.indices)], judge):
        masks[place[part.indices]] |= part.masks | agreed[part.indices % len(agreed)]
        judged.append((part.indices, part.p_spurious))

    p_spurious = torch.full((len(cases), max(p.shape[1] for _, p in judged)), math.nan, dtype=torch.float64)
    for indices, p in judged:
        p_spurious[place[indices], : p.shape[1]] = p
    coverage = torch.tensor([consensus.coverage for consensus in each], dtype=torch.float64)
    return Propagated(
        cases,
        p_spurious,
        masks,
        agreed if data.multilabel else agreed[0],
        coverage if data.multilabel else coverage[0],
        torch.tensor(agreement, dtype=torch.float64),
    )


def _learn(
    found: Round, data: TrainingData, finder: SegmentFinder, how: Propagation, seed: int
) -> tuple[list[VerdictLearner | None], Tensor, float]:
    """Return who learned a round's verdicts, the corrected probabilities (a, J) of its own segments, and agreement.

    Each finding has a learner of its own, or none where all its verdicts are unsure.
    """
    learners: list[VerdictLearner | None] = []
    corrected, agreements = found.codes.values.clone(), []
    for own in data.by_finding(found.indices):
        decided = torch.zeros_like(found.codes.decided)
        decided[own] = found.codes.decided[own]
        if not bool(decided.any()):
            learners.append(None)
            continue
        known = finder.decided(found, own)
        learner = VerdictLearner(how.classifier, seed % 2**32).fit(known)
        learners.append(learner)
        corrected[decided] = torch.from_numpy(learner.p_out_of_fold)
        agreements.append((learner.agreement, len(known.spurious)))
    if not agreements:
        raise ValueError(
            "The 'propagate' argument needs verdicts to extend. Got none that is not unsure. Have more images "
            "critiqued (n_align), or set propagate=False."
        )
    unknown = [name for name, learner in zip(data.findings, learners, strict=False) if learner is None]
    if unknown:
        warn(
            f"There is no verdict to extend on {', '.join(map(repr, unknown))}: their other images stay without masks. "
            "Have more images critiqued (n_align)."
        )
    counted = np.array([pair for pair in agreements if not math.isnan(pair[0])])
    agreement = float(np.average(counted[:, 0], weights=counted[:, 1])) if len(counted) else math.nan
    return learners, torch.where(found.codes.human, found.codes.values, corrected), agreement


def _spared(found: Round) -> Tensor:
    """Return where (a, H, W) a person, or an unsure verdict, says that an image must not be masked."""
    codes = found.codes
    exists = torch.arange(codes.values.shape[1]) < found.segmentation.n_segments[:, None]
    spared = exists & (~codes.decided | (codes.human & (codes.values == 0)))
    return spurious_masks(replace(found.segmentation, rim=0), spared, dtype=torch.bool)

"""Extend the verdicts of rounds of critique to other training images, and make masks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvlm_va._logits import module_device_and_dtype
from lvlm_va._randomness import derive_seed
from lvlm_va.attribution import Attributor, ReferenceSet
from lvlm_va.critique import VerdictTable
from lvlm_va.image_classifier import TrainingData
from lvlm_va.propagation import (
    Propagated,
    Propagation,
    SegmentVerdicts,
    VerdictLearner,
    feature_maps,
    find_consensus,
    find_feature_layer,
    segment_features,
)
from lvlm_va.rounds import Round, chosen_indices
from lvlm_va.segmentation import Segmentation, Segmenter, pixel_effect, spurious_masks

# Images explained, segmented and judged at a time.
CHUNK = 512


@dataclass(frozen=True, eq=False)
class Looking:
    """How a round explains and segments images: what `propagate` must do likewise."""

    attributor: Attributor
    references: ReferenceSet
    segmenter: Segmenter
    seed: int
    verbose: int


def propagate(
    rounds: Sequence[Round],
    data: TrainingData,
    verdicts: VerdictTable,
    looking: Looking,
    propagation: Propagation,
) -> Propagated:
    """Judge segments of other training images as a critic would, and and the critiqued ones once more.

    Parameters
    ----------
    rounds : sequence of Round
        What was critiqued. Each round's verdicts are extended to explanations of the module that it looked into; an
        image's masks of all rounds are joined.
    data : TrainingData
        The images.
    verdicts : VerdictTable
        The verdicts, corrected or not.
    looking : Looking
        How explanations are made and cut.
    propagation : Propagation
        How verdicts are learned, and how far extended.

    Returns
    -------
    Propagated
        Masks of all rounds, the rest of the last.

    Raises
    ------
    ValueError
        If a round left no verdict to learn from.
    """
    critiqued = chosen_indices(rounds)
    rows = torch.cat([critiqued, _others(critiqued, data, looking, propagation)])
    extended = [_extend(found, rows, data, verdicts, looking, propagation) for found in rounds]
    masks, consensus = (
        torch.stack([getattr(part, name) for part in extended]).any(0) for name in ("masks", "consensus")
    )
    return replace(extended[-1], masks=masks, consensus=consensus)


def _others(critiqued: Tensor, data: TrainingData, looking: Looking, propagation: Propagation) -> Tensor:
    free = np.setdiff1d(np.arange(len(data.labels)), critiqued.numpy())
    n_most = len(free) if propagation.n_images is None else max(0, propagation.n_images - len(critiqued))
    if n_most < len(free):
        rng = np.random.default_rng(derive_seed(looking.seed, len(free)))
        free = np.sort(rng.choice(free, n_most, replace=False))
    return torch.from_numpy(free)


def _extend(
    found: Round,
    rows: Tensor,
    data: TrainingData,
    verdicts: VerdictTable,
    looking: Looking,
    propagation: Propagation,
) -> Propagated:
    """Extend the verdicts of one round to these rows."""
    look = _Look(found.module, data)
    codes, human = _codes(found, data, verdicts)
    learner, p_critiqued = _learn(found, look, codes, human, propagation, looking.seed)

    def masked(segmentation: Segmentation, p: Tensor) -> Tensor:
        return spurious_masks(segmentation, p >= propagation.confidence, dtype=torch.bool)

    others = rows[~torch.isin(rows, found.indices)]
    critiqued_masks = masked(found.segmentation, p_critiqued)
    judged = [(found.indices, critiqued_masks, p_critiqued)]
    with tqdm(total=len(others), desc="propagate", disable=not looking.verbose, leave=False) as bar:
        for part in others.split(CHUNK):
            segmentation = look.segment(part, looking)
            features = look.features(part, segmentation)
            exists = ~features[..., 0].isnan()
            p = torch.full(exists.shape, math.nan, dtype=torch.float64)
            p[exists] = torch.from_numpy(learner.p_spurious(features[exists].numpy()))
            judged.append((part, masked(segmentation, p), p))
            bar.update(len(part))

    place = torch.empty(len(data.labels), dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    masks = torch.zeros(len(rows), *data.images.shape[2:], dtype=torch.bool)
    width = max(p.shape[1] for _, _, p in judged)
    p_spurious = torch.full((len(rows), width), math.nan, dtype=torch.float64)
    for part, part_masks, p in judged:
        p_spurious[place[part], : p.shape[1]] = p
        masks[place[part]] = part_masks

    effect = pixel_effect(found.explanation.attributions, found.segmentation.effect)
    consensus = find_consensus(critiqued_masks, effect)
    wanted = consensus.in_place if propagation.consensus == "auto" else bool(propagation.consensus)
    where = consensus.mask & wanted
    everywhere = where.expand_as(masks).clone()
    everywhere[place[found.indices]] &= ~_spared(found, codes, human)
    return Propagated(
        rows,
        p_spurious,
        masks | everywhere,
        where,
        torch.tensor(consensus.coverage, dtype=torch.float64),
        torch.tensor(learner.agreement, dtype=torch.float64),
    )


def _learn(
    found: Round, look: _Look, codes: Tensor, human: Tensor, propagation: Propagation, seed: int
) -> tuple[VerdictLearner, Tensor]:
    """Return who learned a round's verdicts, and the corrected probabilities (a, J) of its own segments."""
    features = look.features(found.indices, found.segmentation)
    learned = ~codes.isnan()
    if not learned.any():
        raise ValueError(
            "The 'propagate' argument needs verdicts to extend. Got none that is not unsure. Have more images "
            "critiqued (n_align), or set propagate=False."
        )
    known = SegmentVerdicts(
        features[learned].numpy(),
        look.n_activations,
        found.indices[:, None].expand(codes.shape)[learned].numpy(),
        (codes == 1)[learned].numpy(),
    )
    learner = VerdictLearner(propagation.classifier, seed % 2**32).fit(known)
    corrected = codes.clone()
    corrected[learned] = torch.from_numpy(learner.p_out_of_fold)
    return learner, torch.where(human, codes, corrected)


def _spared(found: Round, codes: Tensor, human: Tensor) -> Tensor:
    """Return where (a, H, W) a person, or an unsure verdict, says that an image must not be masked."""
    exists = torch.arange(codes.shape[1]) < found.segmentation.n_segments[:, None]
    spared = exists & (codes.isnan() | (human & (codes == 0)))
    return spurious_masks(found.segmentation, spared, dtype=torch.bool)


def _codes(found: Round, data: TrainingData, verdicts: VerdictTable) -> tuple[Tensor, Tensor]:
    """Return the verdicts (a, J): 1 spurious, 0 relevant, NaN none or unsure; and which are a person's."""
    codes = torch.full(found.segmentation.shares.shape, math.nan, dtype=torch.float64)
    human = torch.zeros(codes.shape, dtype=torch.bool)
    values = {"spurious": 1.0, "relevant": 0.0, "unsure": math.nan}
    for i, row in enumerate(found.indices.tolist()):
        for j in range(int(found.segmentation.n_segments[i])):
            verdict = verdicts.get(data.image_ids[row], j + 1)
            if verdict is not None:
                codes[i, j] = values[verdict.verdict]
                human[i, j] = verdict.source == "human"
    return codes, human


class _Look:
    """Looks at images with one module."""

    def __init__(self, module: nn.Module, data: TrainingData) -> None:
        self._module, self._data = module, data
        self._layer = find_feature_layer(module, self._placed(data.images[:2]))
        self.n_activations = 0
        if self._layer is not None:
            self.n_activations = feature_maps(module, self._layer, self._placed(data.images[:2])).shape[1]

    def segment(self, rows: Tensor, looking: Looking) -> Segmentation:
        """Explain and segment as a round does."""
        images = self._data.images[rows]
        explanation = looking.attributor.attribute(
            self._module, images, self._data.labels[rows], looking.references.for_images(images)
        )
        return looking.segmenter.segment(explanation.attributions, images, looking.seed)

    def features(self, rows: Tensor, segmentation: Segmentation) -> Tensor:
        """Return the features (n, J, F) of these rows' segments, on the CPU."""
        parts = []
        for chunk in torch.arange(len(rows)).split(CHUNK):
            images, labels = self._data.images[rows[chunk]], self._data.labels[rows[chunk]]
            activations = None
            if self._layer is not None:
                activations = feature_maps(self._module, self._layer, self._placed(images)).cpu()
            part = segmentation.select(chunk)
            parts.append(segment_features(images, labels, len(self._data.class_names), part, activations))
        return torch.cat(parts)

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(*module_device_and_dtype(self._module))

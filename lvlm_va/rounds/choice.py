"""The choice of images to critique: all at once, or in portions that follow what was found so far."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lvlm_va.common.distributed import on_first
from lvlm_va.common.errors import numbered
from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import reading_ahead
from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.heads import sided_logits
from lvlm_va.modules.logits import predict_logits
from lvlm_va.rounds.adaptive_sampling import (
    Candidates,
    choose_portion,
    exploration_order,
    find_candidates,
    join_candidates,
    n_candidates,
    portion_sizes,
)
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.segment_finder import SegmentFinder
from lvlm_va.rounds.types import Round, Selection
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.runs.shards import in_shards, sharded
from lvlm_va.sampling import ADAPTIVE, select_alignment_set

# Batches whose logits make a shard.
BATCHES_IN_SHARD = 16


@dataclass(frozen=True, eq=False)
class _Logits:
    """Logits of some images."""

    logits: Tensor


@dataclass(frozen=True, eq=False)
class Choice:
    """Chooses training images for one round of critique.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier to look into.
    data : TrainingData
        What it was trained on.
    options : AlignmentOptions
        How images are chosen, explained and segmented.
    run : RunDirectory
        Where results are kept.
    seed : int
        Of all that is drawn.
    """

    module: nn.Module
    data: TrainingData
    options: AlignmentOptions
    run: RunDirectory
    seed: int

    @property
    def sizes(self) -> list[int]:
        """How many images are critiqued between two choices."""
        n_align = self.options.n_align
        return portion_sizes(n_align, self._n_findings) if self.options.sampler == ADAPTIVE else [n_align]

    def draw(self, module_key: str, exclude: Tensor) -> tuple[Tensor, str]:
        """Return the cases to critique, or to begin with and then to choose from, and the key of that choice."""
        how = self.options
        key = self.run.key("sample", module_key, how.sampler, how.n_align, exclude, self.seed)
        with self.run.timed("sample"):
            drawn = self.run.cached(
                "sample", key, Selection, lambda: Selection(self._draw(exclude, key)), collective=True
            )
        return drawn.indices, key

    def survey(self, cases: Tensor, key: str) -> Candidates:
        """Return what later portions are chosen from: cases that were drawn under this key."""
        how = self.options
        key = self.run.key("candidates", key, how.explainer, how.segmenter)
        finder = SegmentFinder(self.module, self.data, how, self.seed)
        progress = "look for more" if how.verbose else None
        with self.run.timed("sample"):
            return sharded(
                self.run,
                "candidates",
                key,
                Candidates,
                cases,
                partial(find_candidates, finder),
                join_candidates,
                progress=progress,
                ahead=self.data.reading_ahead,
            )

    def next_portion(self, candidates: Candidates, found: Round, size: int, key: str) -> Tensor:
        """Return the cases to critique next, by what was found so far."""

        def choose() -> Selection:
            finder = SegmentFinder(self.module, self.data, self.options, self.seed)
            labels, chosen = self.data.outcomes_of(candidates.indices), []
            for finding, (judged, own) in enumerate(
                zip(*map(self.data.by_finding, (found.indices, candidates.indices)), strict=True)
            ):
                n_own = self._n_of(finding, len(found.indices) + size) - len(judged)
                known = finder.decided(found, judged) if len(judged) else None
                free = torch.zeros(len(labels), dtype=torch.bool)
                free[own] = ~torch.isin(candidates.indices[own], found.indices)
                chosen.append(choose_portion(candidates, free, labels, known, n_own, self.seed))
            return Selection(torch.cat(chosen))

        with self.run.timed("sample"):
            return self.run.cached("sample", key, Selection, choose).indices

    def _draw(self, exclude: Tensor, key: str) -> Tensor:
        n = len(self.data.labels)
        logits = self._logits(torch.arange(n), self.run.shards("sample", key))
        free = np.setdiff1d(np.arange(self.data.n_cases), exclude.numpy())
        return on_first(lambda: self._choose_by(logits, torch.from_numpy(free)))

    def _logits(self, rows: Tensor, folder: Path | None) -> Tensor:
        images, batch_size = self.data.images, self.options.training.batch_size

        def predict(part: Tensor) -> _Logits:
            found = []
            for positions in torch.arange(len(part)).split(batch_size):
                with numbered(positions.tolist()):
                    found.append(predict_logits(self.module, images[part[positions]], batch_size=batch_size))
            return _Logits(torch.cat(found))

        shards = in_shards(
            folder,
            _Logits,
            rows,
            predict,
            size=BATCHES_IN_SHARD * batch_size,
            progress="choose images" if self.options.verbose else None,
            ahead=lambda parts: reading_ahead(images, [b for part in parts for b in part.split(batch_size)]),
        )
        return torch.cat([part.logits for part in shards])

    def _choose_by(self, logits: Tensor, free: Tensor) -> Tensor:
        """Return some of the free cases: of each finding as many as of the others, give or take one, by turns."""
        sides = sided_logits(logits, multilabel=self.data.multilabel).softmax(-1)
        chosen = []
        for finding, positions in enumerate(self.data.by_finding(free)):
            own = free[positions]
            chosen.append(self._choose(sides[self.data.rows_of(own), finding].numpy(), own, finding))
        turns = torch.full((max(map(len, chosen)), self._n_findings), -1)
        for finding, cases in enumerate(chosen):
            turns[: len(cases), finding] = cases
        return turns[turns >= 0]

    @property
    def _n_findings(self) -> int:
        return max(1, len(self.data.findings))

    def _n_of(self, finding: int, n: int) -> int:
        """Return how many of n cases are about a finding."""
        return (n + self._n_findings - 1 - finding) // self._n_findings

    def _choose(self, probabilities: NDArray[np.float64], free: Tensor, finding: int) -> Tensor:
        """Return some of the free cases, all classes' or this finding's, by the probabilities of their outcomes."""
        how, classes = self.options, self.data.outcomes_of(free).numpy()
        n_align = self._n_of(finding, how.n_align)
        if not n_align:
            return free[:0]
        if how.sampler == ADAPTIVE:
            rng = np.random.default_rng(derive_seed(self.seed, len(free)))
            drawn = exploration_order(probabilities, classes, rng)
            first = self._n_of(finding, self.sizes[0])
            drawn = drawn[: first + n_candidates(n_align, self._n_findings)]
        else:
            drawn = select_alignment_set(how.sampler, probabilities, classes, n_align, random_state=self.seed)
        return free[torch.from_numpy(drawn)]

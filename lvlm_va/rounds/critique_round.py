"""One round of critique: from a classifier and its training data to critiqued segments.

Each step takes what the step before it returned and, through the `RunDirectory`, repeats nothing that an
earlier run with the same inputs and parameters has done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvlm_va.attribution import Explanation, concatenate_explanations
from lvlm_va.common.distributed import on_first, rank
from lvlm_va.common.randomness import derive_seed
from lvlm_va.common.timing import timed
from lvlm_va.critique import collect_critiques, judge_critiques
from lvlm_va.critique.checks import check_all_judged
from lvlm_va.data.stored_images import reading_ahead
from lvlm_va.data.training_data import TrainingData
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
from lvlm_va.rounds.options import RoundOptions
from lvlm_va.rounds.segment_finder import SegmentFinder
from lvlm_va.rounds.shown import ShownImages, critique_requests, shown_images
from lvlm_va.rounds.types import Explained, Round, Selection, chosen_indices, join_portions
from lvlm_va.rounds.verdicts import verdict_codes, verdict_table
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.runs.shards import in_shards, sharded
from lvlm_va.sampling import ADAPTIVE, select_alignment_set
from lvlm_va.segmentation import Segmentation, concatenate_segmentations

# Batches whose logits make a shard.
_BATCHES = 16


def run_round(
    module: nn.Module,
    data: TrainingData,
    options: RoundOptions,
    run: RunDirectory,
    module_key: str,
    seconds: dict[str, float],
    *,
    earlier: Sequence[Round] = (),
) -> Round:
    """Choose images, explain them, cut the explanations into segments and have them critiqued.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier to look into.
    data : TrainingData
        What it was trained on.
    options : RoundOptions
        How each step is done.
    run : RunDirectory
        Where results are kept.
    module_key : str
        Stands for the module and the data.
    seconds : dict of str to float
        Gets the seconds of each step.
    earlier : sequence of Round
        Earlier rounds; what they critiqued is not chosen again.

    Returns
    -------
    Round
        What was found.
    """
    steps = _Steps(module, data, options, run, seconds)
    drawn, key = steps.draw(module_key, chosen_indices(earlier))
    first, *later = steps.sizes()
    portions = [steps.critique(steps.explain(drawn[:first], key))]
    if later:
        candidates = steps.survey(drawn[first:], key)
        for size in later:
            key = run.key("sample", portions[-1].key, size)
            chosen = steps.choose(candidates, join_portions(portions), size, key)
            portions.append(steps.critique(steps.explain(chosen, key)))
    return join_portions(portions)


def plan_round(
    module: nn.Module,
    data: TrainingData,
    options: RoundOptions,
    run: RunDirectory,
    module_key: str,
    seconds: dict[str, float],
) -> list[Explained]:
    """Return about what the first round would critique, without asking anybody; parameters as in `run_round`.

    In adaptive sampling these are the portions chosen so far and, instead of the others, as many images as explored.
    """
    steps = _Steps(module, data, options, run, seconds)
    drawn, key = steps.draw(module_key, chosen_indices(()))
    first, *later = steps.sizes()
    portions = [steps.explain(drawn[:first], key)]
    for done, size in enumerate(later, start=1):
        key = run.key("sample", verdict_key(portions[-1], options, run), size)
        chosen = run.find("sample", key, Selection)
        if chosen is None:
            left = drawn[~torch.isin(drawn, torch.cat([part.indices for part in portions]))]
            portions.append(steps.explain(left[: sum(later[done - 1 :])], run.key("unasked", key)))
            break
        portions.append(steps.explain(chosen.indices, key))
    return portions


def critique_key(explained: Explained, options: RoundOptions, run: RunDirectory) -> str:
    """Return the key that stands for everything that the critic's words depend on."""
    return run.key("critique", explained.key, options.critic, options.specifications)


def verdict_key(explained: Explained, options: RoundOptions, run: RunDirectory) -> str:
    """Return the key that stands for everything that the verdicts depend on."""
    key = critique_key(explained, options, run)
    # Its own key: a judge with other examples reads what the critic said before.
    return key if options.judge is None else run.key("judge", key, options.judge)


@dataclass(frozen=True, eq=False)
class _Logits:
    """Logits of some images."""

    logits: Tensor


@dataclass(frozen=True, eq=False)
class _Steps:
    """The steps of a round."""

    module: nn.Module
    data: TrainingData
    options: RoundOptions
    run: RunDirectory
    seconds: dict[str, float]

    def sizes(self) -> list[int]:
        """Return how many images are critiqued between two choices."""
        n_align = self.options.n_align
        return portion_sizes(n_align) if self.options.sampler == ADAPTIVE else [n_align]

    def draw(self, module_key: str, exclude: Tensor) -> tuple[Tensor, str]:
        """Return the rows to critique, or to begin with and then to choose from, and the key of that choice."""
        how = self.options
        key = self.run.key("sample", module_key, how.sampler, how.n_align, exclude, how.seed)
        with timed(self.seconds, "sample"):
            drawn = self.run.cached(
                "sample", key, Selection, lambda: Selection(self._draw(exclude, key)), collective=True
            )
        return drawn.indices, key

    def _draw(self, exclude: Tensor, key: str) -> Tensor:
        labels = self.data.labels
        free = np.setdiff1d(np.arange(len(labels)), exclude.numpy())
        logits = self._logits(torch.arange(len(labels)), self.run.shards("sample", key))[free]
        return on_first(lambda: self._choose_by(logits, free))

    def _logits(self, rows: Tensor, folder: Path | None) -> Tensor:
        images, batch_size = self.data.images, self.options.batch_size

        def predict(part: Tensor) -> _Logits:
            batches = part.split(batch_size)
            return _Logits(
                torch.cat([predict_logits(self.module, images[b], batch_size=batch_size) for b in batches])
            )

        shards = in_shards(
            folder,
            _Logits,
            rows,
            predict,
            size=_BATCHES * batch_size,
            ahead=lambda parts: reading_ahead(images, [b for part in parts for b in part.split(batch_size)]),
        )
        return torch.cat([part.logits for part in shards])

    def _choose_by(self, logits: Tensor, free: NDArray[np.int64]) -> Tensor:
        how = self.options
        probabilities, classes = logits.softmax(1).numpy(), self.data.labels[free].numpy()
        if how.sampler == ADAPTIVE:
            rng = np.random.default_rng(derive_seed(how.seed, len(free)))
            drawn = exploration_order(probabilities, classes, rng)
            drawn = drawn[: self.sizes()[0] + n_candidates(how.n_align)]
        else:
            drawn = select_alignment_set(
                how.sampler, probabilities, classes, how.n_align, random_state=how.seed
            )
        return torch.from_numpy(free[drawn])

    def survey(self, rows: Tensor, key: str) -> Candidates:
        """Return what later portions are chosen from: rows that were drawn under this key."""
        how = self.options
        key = self.run.key("candidates", key, how.attributor, how.references, how.segmenter)
        finder = SegmentFinder(self.module, self.data, how.explaining)
        progress = "look for more" if how.verbose else None
        with timed(self.seconds, "sample"):
            return sharded(
                self.run,
                "candidates",
                key,
                Candidates,
                rows,
                lambda part: find_candidates(finder, part),
                join_candidates,
                progress=progress,
                ahead=partial(reading_ahead, self.data.images),
            )

    def choose(self, candidates: Candidates, found: Round, size: int, key: str) -> Tensor:
        """Return the rows to critique next, by what was found so far."""
        with timed(self.seconds, "sample"):
            chosen = self.run.cached(
                "sample", key, Selection, lambda: Selection(self._choose(candidates, found, size))
            )
        return chosen.indices

    def _choose(self, candidates: Candidates, found: Round, size: int) -> Tensor:
        codes, _ = verdict_codes(found, self.data, verdict_table([found], self.options))
        finder = SegmentFinder(self.module, self.data, self.options.explaining)
        known = finder.known(found.indices, found.segmentation, codes)
        free = ~torch.isin(candidates.indices, found.indices)
        labels = self.data.labels[candidates.indices]
        return choose_portion(candidates, free, labels, known, size, self.options.seed)

    def explain(self, chosen: Tensor, key: str) -> Explained:
        """Return the explanations of these rows, chosen under this key, and their segments."""
        how, data, run = self.options, self.data, self.run

        def attribute(rows: Tensor) -> Explanation:
            images = data.images[rows]
            references = how.references.for_images(images)
            return how.attributor.attribute(self.module, images, data.labels[rows], references)

        key = run.key("explain", key, how.attributor, how.references)
        with timed(self.seconds, "explain"):
            explanation = sharded(
                run, "explain", key, Explanation, chosen, attribute, concatenate_explanations
            )
            shown = run.cached("shown", run.key(chosen), ShownImages, lambda: shown_images(data, chosen))

        def segment(positions: Tensor) -> Segmentation:
            images = data.images[chosen[positions]]
            return how.segmenter.segment(explanation.attributions[positions], images, how.seed)

        key, positions = run.key("segment", key, how.segmenter), torch.arange(len(chosen))
        with timed(self.seconds, "segment"):
            segmentation = sharded(
                run, "segment", key, Segmentation, positions, segment, concatenate_segmentations
            )
        return Explained(chosen, shown.images, explanation, segmentation, key)

    def critique(self, explained: Explained) -> Round:
        """Have the segments judged."""
        how, chosen, segmentation = self.options, explained.indices, explained.segmentation
        with (
            timed(self.seconds, "critique"),
            tqdm(
                total=len(chosen), desc="critique", disable=not how.verbose or rank() > 0, leave=False
            ) as bar,
        ):
            said = self.run.file("critiques", critique_key(explained, how, self.run), ".jsonl")
            critiques = on_first(
                lambda: collect_critiques(
                    how.critic,
                    [self.data.image_ids[i] for i in chosen.tolist()],
                    lambda positions: critique_requests(self.data, how, explained, positions),
                    path=said,
                    on_progress=bar.update,
                    judged=how.judge is not None,
                )
            )
        key, n_segments_of = verdict_key(explained, how, self.run), segmentation.n_segments.tolist()
        judge = how.judge
        if judge is not None:
            read = self.run.file("judged", key, ".jsonl")
            with timed(self.seconds, "judge"):
                critiques = on_first(lambda: judge_critiques(judge, critiques, n_segments_of, path=read))
        check_all_judged(critiques, n_segments_of)
        return Round(self.module, chosen, explained.explanation, segmentation, tuple(critiques), key)

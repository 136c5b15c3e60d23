"""The method, top to bottom: train, sample, explain, cut, critique, mask, align (LVLM-VA, arXiv 2512.21985)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from lvlm_va.alignment import (
    AlignmentSet,
    Epoch,
    History,
    MarkedImages,
    TrainingOptions,
    TrainingResult,
    train,
)
from lvlm_va.attribution import Explanation, concatenate_explanations
from lvlm_va.common.distributed import on_first, rank
from lvlm_va.common.warnings import warn
from lvlm_va.critique import VerdictTable
from lvlm_va.data.stored_images import subset
from lvlm_va.data.training_data import TrainingData
from lvlm_va.data.weights import balanced_repeats
from lvlm_va.propagation import Propagated
from lvlm_va.rounds.choice import Choice
from lvlm_va.rounds.comparison import Comparison, compare
from lvlm_va.rounds.critique_round import have_critiqued
from lvlm_va.rounds.drawn_masks import DrawnMasks
from lvlm_va.rounds.explaining import Explaining
from lvlm_va.rounds.family_round import have_families_critiqued
from lvlm_va.rounds.held_out import AlignmentRows, draw_held_out, hold_out
from lvlm_va.rounds.marks import Marks, find_marks
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.propagated_masks import propagate
from lvlm_va.rounds.remarks import remarks_on_alignment, remarks_on_verdicts
from lvlm_va.rounds.shown import ShownImages, shown_images
from lvlm_va.rounds.types import Aligned, Explained, Round, Trained, chosen_indices, join_portions
from lvlm_va.rounds.verdicts import (
    correct,
    keep_verdicts,
    make_alignment_set,
    read_corrections,
    verdict_table,
)
from lvlm_va.rounds.whole_images import remarks_on_whole_images
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.runs.shards import sharded
from lvlm_va.segmentation import Segmentation, concatenate_segmentations

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class AlignmentJob:
    """Mends a classifier on its training data; through the run directory, no step is done twice.

    Attributes
    ----------
    data : TrainingData
        What the classifier is trained on.
    options : AlignmentOptions
        How each step is done.
    run : RunDirectory
        Where each step leaves its result, and finds it again.
    seed : int
        Of all that is drawn.
    validation : TrainingData or None
        Images that are measured after each epoch, and before and after alignment; none is trained on.
    """

    data: TrainingData
    options: AlignmentOptions
    run: RunDirectory
    seed: int
    validation: TrainingData | None = None

    def train(self, module: nn.Module) -> Trained:
        """Return a classifier trained plainly; with no epochs, the module as it is."""
        trained = self._fit("train", Trained(module, self.run.key(module)), self.options.training)
        with self.run.timed("train"):
            remarks = on_first(
                lambda: remarks_on_whole_images(
                    trained.module, self.data, batch_size=self.options.training.batch_size, seed=self.seed
                )
            )
        for remark in remarks:
            warn(remark)
        return replace(trained, remarks=remarks)

    def align(self, trained: Trained, drawn: DrawnMasks | None = None) -> Aligned:
        """Critique and align by turns, until a critique finds nothing spurious or all rounds are done.

        Without a critic, align once with the masks that people drew.
        """
        so_far = Aligned(trained, trained, VerdictTable(), drawn=drawn)
        if self.options.critic is None:
            return self.fine_tune(so_far)
        while True:
            so_far = self.critique(so_far)
            clean = so_far.spurious_share[-1] <= self.options.round_tolerance
            if clean or len(so_far.rounds) == self.options.n_rounds:
                break
            so_far = self.fine_tune(so_far)
        # Corrections enter the last alignment only: they must not change what the critic was asked.
        corrected = self.corrected(so_far)
        found_clean = clean and len(so_far.rounds) > 1
        if found_clean and corrected == so_far.verdicts:
            keep_verdicts(corrected, so_far.rounds, self.run)
            return so_far
        for remark in remarks_on_verdicts(so_far.judged_by(corrected)):
            warn(remark)
        return self.follow(so_far, corrected)

    def realign(self, aligned: Aligned, edits: VerdictTable) -> Aligned:
        """Align again, by verdicts that somebody corrected; the critic is not asked."""
        return self.follow(aligned, correct(self.corrected(aligned), edits, self.data.class_names))

    def corrected(self, aligned: Aligned) -> VerdictTable:
        """Return the verdicts as somebody corrected them in the run directory."""
        return read_corrections(aligned.verdicts, aligned.rounds, self.run, self.data.class_names)

    def follow(self, aligned: Aligned, verdicts: VerdictTable) -> Aligned:
        """Keep these verdicts, and align by them."""
        keep_verdicts(verdicts, aligned.rounds, self.run)
        return self.fine_tune(aligned.judged_by(verdicts))

    def critique(self, so_far: Aligned) -> Aligned:
        """One round: sample images, explain them, cut the explanations, and have the segments judged."""
        module = so_far.latest.module
        choice = Choice(module, self.data, self.options, self.run, self.seed)
        drawn, key = choice.draw(so_far.latest.key, so_far.indices)
        first, *later = choice.sizes
        portions = [self.judge(module, self.explain(module, drawn[:first], key))]
        if later:
            candidates = choice.survey(drawn[first:], key)
            for size in later:
                key = self.run.key("sample", portions[-1].key, size)
                chosen = choice.next_portion(candidates, join_portions(portions), size, key)
                portions.append(self.judge(module, self.explain(module, chosen, key)))
        found = join_portions(portions)
        rounds = (*so_far.rounds, found)
        share = (*so_far.spurious_share, found.spurious_share)
        return replace(
            so_far, verdicts=verdict_table(rounds, self.options), rounds=rounds, spurious_share=share
        )

    def explain(self, module: nn.Module, chosen: Tensor, key: str) -> Explained:
        """Attribute the labels' logits of these cases, chosen under this key, and cut the attributions up."""
        how, data, run = self.options, self.data, self.run
        told = {"explain": "explain images", "segment": "cut into segments"} if how.verbose else {}
        explaining = Explaining(module, data, how, self.seed)
        key = run.key("explain", key, how.explainer)
        with run.timed("explain"):
            explanation = sharded(
                run,
                "explain",
                key,
                Explanation,
                chosen,
                explaining.explain,
                concatenate_explanations,
                progress=told.get("explain"),
            )
            shown = self._with_images(
                "shown", run.key(chosen), ShownImages, lambda: shown_images(data, chosen)
            )

        def cut(positions: Tensor) -> Segmentation:
            return explaining.segment(chosen[positions], explanation.attributions[positions])

        key, positions = run.key("segment", key, how.segmenter), torch.arange(len(chosen))
        with run.timed("segment"):
            segmentation = sharded(
                run,
                "segment",
                key,
                Segmentation,
                positions,
                cut,
                concatenate_segmentations,
                progress=told.get("segment"),
            )
        return Explained(chosen, shown.images, explanation, segmentation, key)

    def judge(self, module: nn.Module, explained: Explained) -> Round:
        """Have the critic, and the judge if any, say of each segment, or each family, whether it is spurious."""
        if self.options.ask == "families":
            return have_families_critiqued(module, explained, self.data, self.options, self.run, self.seed)
        return have_critiqued(module, explained, self.data, self.options, self.run)

    def mask(self, rounds: tuple[Round, ...], drawn: DrawnMasks | None = None) -> AlignmentSet:
        """Return the critiqued images with what was judged spurious, or what a person drew instead."""
        self.run.drop("alignment-set")
        key = self.run.key([(found.key, found.codes) for found in rounds], *filter(None, [drawn]))
        return self._with_images(
            "alignment-set", key, AlignmentSet, lambda: make_alignment_set(rounds, self.data, drawn)
        )

    def propagate(self, rounds: tuple[Round, ...]) -> Propagated | None:
        """Extend the verdicts to more images, where the options say so."""
        how, run = self.options, self.run
        run.drop("propagate")
        if how.propagation is None:
            return None
        judged = [(found.key, found.codes) for found in rounds]
        key = run.key(judged, how.propagation, how.explainer, how.segmenter, self.seed)
        folder = run.shards("propagate", key)
        with run.timed("propagate"):
            return run.cached(
                "propagate",
                key,
                Propagated,
                lambda: propagate(rounds, self.data, how, self.seed, folder),
                collective=True,
            )

    def fine_tune(self, so_far: Aligned) -> Aligned:
        """Align the unaligned classifier by all masks so far: right for the right reasons (arXiv 1703.03717)."""
        how, data = self.options, self.data
        rounds = self._to_align_with(so_far.rounds)
        indices = None
        if rounds:
            masked = self.mask(rounds, so_far.drawn)
        found = replace(so_far, propagated=self.propagate(rounds))
        if found.propagated is not None or found.drawn is not None:
            marks = self.marks(found)
            indices = data.rows_of(marks.indices)
            weights = None if data.weights is None else data.weights[indices]
            images, findings = subset(data.images, indices), data.findings_of(marks.indices)
            masked = AlignmentSet(images, data.labels[indices], marks.masks, findings, weights)
        seen = AlignmentRows(masked)
        if how.held_out_fraction is not None:
            batch_size = how.training.batch_size
            seen = hold_out(
                masked,
                self._measurable(found),
                len(data.labels),
                how.held_out_fraction,
                how.explainer,
                batch_size,
                self.seed,
                data.groups,
                indices,
            )
        self.run.drop("align")
        latest = self._fit("align", so_far.start, how.aligning, seen)
        if so_far.latest is not so_far.start:
            latest = replace(latest, histories=(*so_far.latest.histories, *latest.histories))
        comparison = self.compare(so_far.start.module, latest.module, rounds, found.drawn)
        found = replace(found, latest=latest, comparison=comparison)
        for remark in remarks_on_alignment(found, how):
            warn(remark)
        if comparison.is_worse and how.if_worse == "restore":
            found = replace(found, latest=replace(so_far.start, histories=found.latest.histories))
        return found

    def compare(
        self, before: nn.Module, after: nn.Module, rounds: tuple[Round, ...], drawn: DrawnMasks | None = None
    ) -> Comparison:
        """Return how right the classifier is before and after, and whether it follows what must not count."""
        marks = find_marks(rounds, None, drawn, torch.float32)
        effect = torch.zeros(
            len(marks.indices), dtype=torch.float64
        )  # of images that were drawn on only: not known
        judged = [(found.segmentation.shares * found.codes.spurious).sum(1) for found in rounds]
        if judged:
            effect[: sum(map(len, judged))] = torch.cat(judged)
        return compare(
            (before, after),
            self.data,
            self.validation,
            marks.indices,
            marks.masks > 0,
            effect,
            batch_size=self.options.training.batch_size,
            seed=self.seed,
        )

    def marked_images(self, aligned: Aligned) -> MarkedImages:
        """Return all images of the latest alignment, each once, or for each finding that it has a mask about."""
        how, data = self.options, self.data
        marks = self.marks(aligned)
        kept = torch.ones(len(data.labels), dtype=torch.bool)
        if how.held_out_fraction is not None:
            measurable = self._measurable(aligned)
            kept[draw_held_out(measurable, how.held_out_fraction, self.seed, data.groups)] = False
        rows = kept.nonzero().flatten()
        masks = marks.masks if marks.masks.dtype == torch.bool else marks.masks > 0
        masked, findings = data.rows_of(marks.indices), data.findings_of(marks.indices)
        return MarkedImages(data.images, data.labels, masked, masks, rows, findings)

    def marks(self, aligned: Aligned) -> Marks:
        """Return the masks of the latest alignment."""
        rounds = self._to_align_with(aligned.rounds)
        return find_marks(rounds, aligned.propagated, aligned.drawn, self.data.images.dtype)

    def _measurable(self, aligned: Aligned) -> Tensor:
        """Return the rows (a,) of which early stopping holds some out: the first ones of the marks."""
        if aligned.drawn is not None and not aligned.rounds:
            return self.data.rows_of(aligned.drawn.indices)
        return self.data.rows_of(chosen_indices(self._to_align_with(aligned.rounds)))

    def _to_align_with(self, rounds: tuple[Round, ...]) -> tuple[Round, ...]:
        # A last round that found nothing spurious in an aligned classifier adds nothing to align with.
        clean = len(rounds) > 1 and rounds[-1].spurious_share <= self.options.round_tolerance
        return rounds[:-1] if clean else rounds

    def _with_images(self, stage: str, key: str, kind: type[T], make: Callable[[], T]) -> T:
        """Return what holds training images, kept in the run directory only where it may hold them."""
        return self.run.cached(stage, key, kind, make) if self.options.keep_images else make()

    def _fit(
        self, stage: str, start: Trained, options: TrainingOptions, rows: AlignmentRows | None = None
    ) -> Trained:
        """Return what one run of the training loop makes of a classifier."""
        weights, held = self.data.weights, self.validation
        aligning = {} if rows is None else vars(rows)
        if self.options.resample:
            repeats = balanced_repeats(self.data.labels)
            known = aligning.get("repeats")
            aligning = {**aligning, "repeats": repeats if known is None else repeats * known}
        resampled = aligning.get("repeats") if self.options.resample else None
        more = [extra for extra in (weights, held and held.key(), resampled) if extra is not None]
        key = self.run.key(stage, start.key, options, self.seed, rows, *more)
        path = self.run.file(stage, key, ".safetensors")

        def tell(history: History) -> None:
            if rank() == 0 and self.options.on_epoch is not None:
                self.options.on_epoch(Epoch.last_of(stage, options.epochs, history))

        def go_on() -> TrainingResult:
            return train(
                start.module,
                self.data.images,
                self.data.labels,
                options,
                weights=weights,
                validation=None if held is None else (held.images, held.labels),
                seed=self.seed,
                checkpoint_path=path,
                checkpoint_key=key,
                on_epoch=None if self.options.on_epoch is None else tell,
                verbose=self.options.verbose,
                **aligning,
            )

        with self.run.timed(stage):
            result = (go_on() if path is None else self.run.unless_damaged(path, go_on)) or go_on()
        if result.stopped:  # what comes after it is not what comes after a whole run
            key = self.run.key(key, len(result.history.loss))
        return Trained(result.module, key, (result.history,))

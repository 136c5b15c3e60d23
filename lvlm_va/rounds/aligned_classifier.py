"""What a classifier that follows verdicts can do: be aligned in rounds, and again with verdicts that were corrected."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import nn

from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import concatenate_explanations, resolve_attributor
from lvlm_va.common.timing import timed
from lvlm_va.critique import VerdictTable
from lvlm_va.critique.checks import warn_of_undecided
from lvlm_va.data.stored_images import subset
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.propagation import Propagated, Propagation, resolve_propagation
from lvlm_va.rounds.critique_round import run_round
from lvlm_va.rounds.held_out import hold_out
from lvlm_va.rounds.options import RoundOptions
from lvlm_va.rounds.propagated_masks import propagate
from lvlm_va.rounds.reported_classifier import ReportedClassifier
from lvlm_va.rounds.segment_finder import ExplainOptions
from lvlm_va.rounds.types import Round, chosen_indices
from lvlm_va.rounds.verdicts import (
    keep_verdicts,
    make_alignment_set,
    read_corrections,
    spurious_share,
    verdict_table,
)
from lvlm_va.segmentation import Segmenter, concatenate_segmentations, resolve_segmenter


class AlignedClassifier(ReportedClassifier):
    """Base of estimators whose ``fit`` aligns a module with what a critic judged spurious.

    Attributes
    ----------
    spurious_share_ : tuple of float
        For each round done, the mean share of its images' effect in segments that the critic judged spurious.
    propagated_ : Propagated
        The images aligned with, and their masks (with `propagate` only).
    """

    segmenter: str | Segmenter
    propagate: bool | int | Propagation
    round_tolerance: float
    early_stopping: bool
    verbose: int
    spurious_share_: tuple[float, ...]
    propagated_: Propagated
    _data: TrainingData
    _data_key: str
    _seed: int
    _train_key: str

    def realign(
        self,
        verdicts: VerdictTable | str | os.PathLike[str],
        X: Images | None = None,
        y: ArrayLike | None = None,
        *,
        image_ids: Sequence[str] | None = None,
    ) -> Self:
        """Align again from the unaligned module, with verdicts that somebody corrected; the critic is not asked.

        Parameters
        ----------
        verdicts : VerdictTable or path of its JSON file
            Corrected verdicts; segments that it does not mention keep theirs.
        X, y, image_ids : default=None
            The training data again; needed only in an estimator that was pickled or copied since.

        Returns
        -------
        LVLMVAClassifier
            Itself, with a new ``module_``, ``verdicts_`` and ``masks_``.

        Raises
        ------
        ValueError
            If a verdict is on a segment that does not exist, or the training data are missing or others.
        """
        check_is_fitted(self, "critiques_")
        edits = verdicts if isinstance(verdicts, VerdictTable) else VerdictTable.load(verdicts)
        self._data = data = self._fitted_data(X, y, image_ids)
        self.verdicts_ = read_corrections(self.verdicts_, self._rounds, self._run).corrected_by(edits)
        self._follow_verdicts(data)
        return self

    def _run_rounds(self, data: TrainingData, options: RoundOptions, key: str) -> None:
        """Critique and align by turns, from ``module_``, for which `key` stands, until nothing spurious is left."""
        self._rounds, self.spurious_share_ = (), ()
        while len(self._rounds) < self.n_rounds:
            if self._rounds:
                key = self._align(data)
            found = run_round(
                self.module_, data, options, self._run, key, self.seconds_, earlier=self._rounds
            )
            self._rounds = (*self._rounds, found)
            self.verdicts_ = verdict_table(self._rounds, options)
            self.spurious_share_ += (spurious_share(found, data, self.verdicts_),)
            if self.spurious_share_[-1] <= self.round_tolerance:
                break
        # Corrections enter the last alignment only: they must not change what the critic was asked.
        found_clean = len(self._followed(data)) < len(self._rounds)
        asked, self.verdicts_ = self.verdicts_, read_corrections(self.verdicts_, self._rounds, self._run)
        warn_of_undecided(self.verdicts_.verdicts, calls_above=3)
        self._follow_verdicts(data, aligned=found_clean and self.verdicts_ == asked)

    def _followed(self, data: TrainingData) -> tuple[Round, ...]:
        """Return the rounds to align with: all but a last one that found nothing spurious in an aligned module."""
        *before, last = self._rounds
        clean = spurious_share(last, data, self.verdicts_) <= self.round_tolerance
        return tuple(before) if before and clean else self._rounds

    def _follow_verdicts(self, data: TrainingData, *, aligned: bool = False) -> None:
        """Keep the verdicts, and align by them unless ``module_`` was."""
        keep_verdicts(self.verdicts_, self._rounds, self._run)
        if aligned:
            self._gather(data)
        else:
            self._align(data)
        self._publish(data)

    def _gather(self, data: TrainingData) -> AlignmentSet:
        """Set what is told of all rounds so far; return the critiqued images and their masks."""
        run, rounds, verdicts = self._run, self._rounds, self.verdicts_
        run.drop("alignment-set")
        key = run.key([part.key for part in rounds], verdicts.verdicts)
        masked = run.cached(
            "alignment-set", key, AlignmentSet, lambda: make_alignment_set(rounds, data, verdicts)
        )
        self.masks_ = masked.masks.numpy() > 0
        self.alignment_set_ = chosen_indices(rounds).numpy()
        self.explanation_ = concatenate_explanations([part.explanation for part in rounds])
        self.segments_ = concatenate_segmentations([part.segmentation for part in rounds])
        self.critiques_ = tuple(critique for part in rounds for critique in part.critiques)
        return masked

    def _align(self, data: TrainingData) -> str:
        """Fine-tune the unaligned module on what was found so far; return the key of the result."""
        masked, followed = self._gather(data), self._followed(data)
        critiqued = chosen_indices(followed)
        self._run.drop("align")
        self.__dict__.pop("propagated_", None)
        propagation = resolve_propagation(self.propagate)
        if propagation is not None:
            masked = self._propagate(data, propagation, followed)
        else:
            n = len(critiqued)
            masked = AlignmentSet(masked.images[:n], masked.labels[:n], masked.masks[:n])
        aligning: dict[str, Any] = {"alignment_set": masked}
        if self.early_stopping:
            aligning = hold_out(masked, critiqued, data, vars(self), self.references_, self._seed)
        return self._train("align", self.unaligned_module_, data, self._train_key, **aligning)

    def _propagate(
        self, data: TrainingData, propagation: Propagation, rounds: tuple[Round, ...]
    ) -> AlignmentSet:
        """Extend the verdicts to more images; return all of them with their masks."""
        attributor, segmenter = resolve_attributor(self.attribution), resolve_segmenter(self.segmenter)
        explaining = ExplainOptions(attributor, self.references_, segmenter, self._seed, self.verbose)
        self._run.drop("propagate")
        found = [part.key for part in rounds]
        key = self._run.key(found, self.verdicts_.verdicts, propagation, replace(explaining, verbose=0))
        folder = self._run.shards("propagate", key)
        with timed(self.seconds_, "propagate"):
            self.propagated_ = self._run.cached(
                "propagate",
                key,
                Propagated,
                lambda: propagate(rounds, data, self.verdicts_, explaining, propagation, folder),
                collective=True,
            )
        rows = self.propagated_.indices
        return AlignmentSet(subset(data.images, rows), data.labels[rows], self.propagated_.masks)

    @abstractmethod
    def _train(self, stage: str, module: nn.Module, data: TrainingData, key: str, **aligning: Any) -> str:
        """Make ``module_`` of `module` by one run of the training loop; return the key that stands for it."""

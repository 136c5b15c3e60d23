"""What a classifier with a critic can do: say what it relies on, report, and tell what asking would cost."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.utils.data import Dataset

from lvlm_va._inputs import encode_labels, read_dataset
from lvlm_va.attribution import Explanation, resolve_attributor
from lvlm_va.backends import ChatBackend, Estimate, Prices
from lvlm_va.costs import estimate_round
from lvlm_va.critique import (
    BehaviourSummary,
    BehaviourWriter,
    Critique,
    VerdictTable,
    resolve_writer,
    summarize_behaviour,
)
from lvlm_va.image_classifier import ImageClassifier, Images, TrainingData
from lvlm_va.outcome import Outcome, find_outcome
from lvlm_va.propagation import Propagated
from lvlm_va.round_options import RoundOptions
from lvlm_va.rounds import explain_round, segment_findings
from lvlm_va.run_directory import RunDirectory
from lvlm_va.run_facts import parameter_facts, version_facts
from lvlm_va.segmentation import Segmentation

if TYPE_CHECKING:
    from lvlm_va.report import Measures, RunRecord


class CritiquedClassifier(ImageClassifier):
    """Base of estimators whose ``fit`` has a critic judge segments of explanations.

    Attributes
    ----------
    explanation_, segments_, critiques_ : Explanation, Segmentation, tuple of Critique
        Attributions of the critiqued images, their segments, and what the critic said.
    verdicts_ : VerdictTable
        The verdict on every segment.
    seconds_ : dict of str to float
        Wall-clock seconds of each stage.
    """

    n_rounds: int
    run_dir: str | os.PathLike[str] | None
    explanation_: Explanation
    segments_: Segmentation
    critiques_: tuple[Critique, ...]
    verdicts_: VerdictTable
    alignment_set_: NDArray[np.int64]
    unaligned_module_: nn.Module
    seconds_: dict[str, float]
    _run: RunDirectory

    def estimate_cost(
        self,
        X: Images,
        y: ArrayLike | None = None,
        *,
        image_ids: Sequence[str] | None = None,
        prices: Prices | None = None,
    ) -> Estimate:
        """Return about what ``fit`` would ask of models, before anything is sent; the estimator stays as it is.

        Parameters
        ----------
        X, y, image_ids
            As in `fit`.
        prices : Prices or None, default=None
            What the models' provider charges; None leaves the cost unknown.

        Returns
        -------
        Estimate
            Requests, images, tokens and money of critic and judge; see `lvlm_va.costs.estimate_round`. Trains the
            module and explains it, as ``fit`` would; with a run directory that work is kept for it.
        """
        trial = type(self)(**self.get_params(deep=False))
        data, options, key = trial._prepare(X, y, image_ids)
        if options is None:
            return Estimate()
        found = explain_round(trial.module_, data, options, trial._run, key, trial.seconds_)
        return sum(
            [estimate_round(found, data, options, trial._run, prices)] * self.n_rounds, start=Estimate()
        )

    def behaviour_summary(
        self, writer: BehaviourWriter | ChatBackend | str | None = None
    ) -> BehaviourSummary:
        """Say for each class what the unaligned module relies on, by what its critiqued segments cover.

        Parameters
        ----------
        writer : BehaviourWriter, chat model, str or None, default=None
            The language model that puts it into words, such as ``"hf:FOLDER"``. None, or a model that fails: a
            template.

        Returns
        -------
        BehaviourSummary
            Shares of positive effect and an account per class; ``print`` shows it as text.
        """
        check_is_fitted(self, "critiques_")
        names = [str(name) for name in self.classes_]
        summary = summarize_behaviour(
            segment_findings(self.explanation_, self.segments_, self.critiques_, self.verdicts_, names)
        )
        scribe = resolve_writer(writer)
        if scribe is None:
            return summary
        if self.run_dir is not None:
            scribe = scribe.kept_in(self.run_dir)
        return scribe.write(summary, self.verdicts_.specifications)

    def report(
        self,
        path: str | os.PathLike[str] = "report.html",
        X_test: Images | None = None,
        y_test: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        masks: ArrayLike | None = None,
        title: str | None = None,
        intro: str | None = None,
        prices: Prices | None = None,
    ) -> Path:
        """Write a page for the expert: what changed, what the classifier looks at, and every critiqued image.

        Parameters
        ----------
        path : path-like, default="report.html"
            The page, one HTML file that needs no other and no network. With a run directory, pictures for slides are
            written into its folder ``figures``, too.
        X_test, y_test : default=None
            Images that the classifier was not trained on, and their labels: what is measured before and after. None
            takes what was last measured, if anything.
        groups : array-like of shape (n,), default=None
            Groups of the test images, such as ``"melanoma, plaster"``; None takes their classes.
        masks : array-like of shape (n, H, W), default=None
            True where a pixel of a test image is known to be spurious; adds the alignment score.
        title, intro : str, default=None
            Heading of the page, and a paragraph that says what it is about.
        prices : Prices or None, default=None
            What the models' provider charges; None leaves the cost in tokens.

        Returns
        -------
        Path
            The page.

        Raises
        ------
        ImportError
            If Jinja2 is missing (extra ``report``).
        ValueError
            If the test data do not fit together, or a copy without a run directory is asked, which holds no images.
        """
        from lvlm_va.report import keep_measures, read_run, write_report

        check_is_fitted(self, "critiques_")
        measures = None if X_test is None else self._measure(X_test, y_test, groups, masks)
        if self._run.path is None:
            record = replace(self._record(), measures=measures)
        else:
            if measures is not None:
                keep_measures(self._run.path, measures)
            record = read_run(self._run.path)
        return write_report(record, path, title=title, intro=intro, prices=prices)

    def _measure(
        self, X: Images, y: ArrayLike | None, groups: ArrayLike | None, masks: ArrayLike | None
    ) -> Measures:
        from lvlm_va.report.measuring import measure

        if y is None:
            if not isinstance(X, Dataset):
                raise ValueError("The 'y_test' argument must hold the labels of X_test. Got None instead.")
            X, y = read_dataset(X)
        return measure(
            self.unaligned_module_,
            self.module_,
            self._images(X),
            torch.from_numpy(encode_labels(y, self.classes_)[1]),
            tuple(str(name) for name in self.classes_),
            attributor=resolve_attributor(self.attribution),
            references=self.references_,
            batch_size=self.batch_size,
            groups=groups,
            masks=masks,
        )

    def _record(self) -> RunRecord:
        """Return what a run directory would tell."""
        from lvlm_va.report.run_record import RunRecord, as_bytes

        data: TrainingData | None = getattr(self, "_data", None)
        if data is None:
            raise ValueError(
                "A report of a copy needs a run directory (run_dir): copies hold no images. Report from the estimator "
                "that was fitted."
            )
        rows = torch.from_numpy(self.alignment_set_)
        return RunRecord(
            class_names=data.class_names,
            images=as_bytes(data.images[rows].numpy()),
            labels=data.labels[rows].numpy(),
            explanation=self.explanation_,
            segmentation=self.segments_,
            critiques=self.critiques_,
            verdicts=self.verdicts_,
            masks=self.masks_,
            outcome=self._outcome(data),
            **self._facts(data),
        )

    def _publish(self, data: TrainingData, key: str) -> None:
        """Leave in the run directory what a report needs besides the results; `key` stands for the aligned module."""
        run = self._run
        if run.path is not None:
            key = run.key(key, self.attribution, self.references_)
            run.forget("outcome")
            run.dataclass("outcome", key, Outcome, lambda: self._outcome(data))
            run.publish(**self._facts(data) | {"seconds": run.seconds_of_results(self.seconds_)})

    def _facts(self, data: TrainingData) -> dict[str, Any]:
        propagated: Propagated | None = getattr(self, "propagated_", None)
        return {
            "seconds": self.seconds_,
            "image_ids": tuple(data.image_ids[row] for row in self.alignment_set_.tolist()),
            "n_training_images": len(data.labels),
            "parameters": parameter_facts(self.get_params(deep=False)),
            "versions": version_facts(),
            "propagated": propagated
            and {"n_images": len(propagated.indices), "agreement": float(propagated.agreement)},
        }

    def _outcome(self, data: TrainingData) -> Outcome:
        rows = torch.from_numpy(self.alignment_set_)
        return find_outcome(
            self.unaligned_module_,
            self.module_,
            data.images[rows],
            data.labels[rows],
            attributor=resolve_attributor(self.attribution),
            references=self.references_,
            batch_size=self.batch_size,
        )

    @abstractmethod
    def _prepare(
        self, X: Images, y: ArrayLike | None, image_ids: Sequence[str] | None
    ) -> tuple[TrainingData, RoundOptions | None, str]:
        """Check everything and train; return the data, how rounds are done and the key of what was trained."""

"""What a classifier that was aligned can tell a person: a report."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from lvlm_va.attribution import resolve_attributor
from lvlm_va.backends import Prices
from lvlm_va.common.distributed import on_first
from lvlm_va.data.inputs import encode_labels, open_dataset
from lvlm_va.data.stored_images import StoredImages
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.propagation import Propagated
from lvlm_va.rounds.critiqued_classifier import CritiquedClassifier
from lvlm_va.rounds.outcome import Outcome, find_outcome, join_outcomes
from lvlm_va.rounds.shown import shown_images
from lvlm_va.runs.facts import parameter_facts, version_facts
from lvlm_va.runs.shards import SHARD, sharded

if TYPE_CHECKING:
    from lvlm_va.report import Measures, RunRecord


class ReportedClassifier(CritiquedClassifier):
    """Base of estimators that write a report of what was critiqued and what alignment changed.

    Attributes
    ----------
    unaligned_module_ : torch.nn.Module
        The classifier before alignment.
    alignment_set_ : ndarray of shape (a,), int64
        Rows of X that were critiqued.
    masks_ : ndarray of shape (a, H, W), bool
        True where a segment was judged spurious.
    """

    unaligned_module_: nn.Module
    alignment_set_: NDArray[np.int64]
    masks_: NDArray[np.bool_]

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

        def write() -> Path:
            measures = None if X_test is None else self._measure(X_test, y_test, groups, masks)
            if self._run.path is None:
                record = replace(self._record(), measures=measures)
            else:
                if measures is not None:
                    keep_measures(self._run.path, measures)
                record = read_run(self._run.path)
            return write_report(record, path, title=title, intro=intro, prices=prices)

        return on_first(write)

    def _measure(
        self, X: Images, y: ArrayLike | None, groups: ArrayLike | None, masks: ArrayLike | None
    ) -> Measures:
        from lvlm_va.report.measuring import measure

        if isinstance(X, Dataset):
            X, labels = open_dataset(X, getattr(self, "num_workers", None))
            y = labels if y is None else y
        if y is None and isinstance(X, StoredImages):
            y = X.labels()
        if y is None:
            raise ValueError("The 'y_test' argument must hold the labels of X_test. Got None instead.")
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
        from lvlm_va.report.run_record import RunRecord

        data: TrainingData | None = getattr(self, "_data", None)
        if data is None:
            raise ValueError(
                "A report of a copy needs a run directory (run_dir): copies hold no images. Report from the estimator "
                "that was fitted."
            )
        rows = torch.from_numpy(self.alignment_set_)
        return RunRecord(
            class_names=data.class_names,
            indices=self.alignment_set_,
            images=shown_images(data, rows).images.numpy(),
            labels=data.labels[rows].numpy(),
            explanation=self.explanation_,
            segmentation=self.segments_,
            critiques=self.critiques_,
            verdicts=self.verdicts_,
            masks=self.masks_,
            outcome=join_outcomes([self._outcome(data, part) for part in rows.split(SHARD)]),
            **self._facts(data),
        )

    def _publish(self, data: TrainingData) -> None:
        """Leave in the run directory what a report needs besides the results."""
        run, self.seconds_ = self._run, on_first(lambda: self.seconds_)
        if run.path is not None:
            key = run.key(
                self.module_, self.unaligned_module_, self.alignment_set_, self.attribution, self.references_
            )
            run.drop("outcome")
            rows = torch.from_numpy(self.alignment_set_)
            sharded(run, "outcome", key, Outcome, rows, lambda part: self._outcome(data, part), join_outcomes)
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

    def _outcome(self, data: TrainingData, rows: Tensor) -> Outcome:
        return find_outcome(
            self.unaligned_module_,
            self.module_,
            data.images[rows],
            data.labels[rows],
            attributor=resolve_attributor(self.attribution),
            references=self.references_,
            batch_size=self.batch_size,
        )

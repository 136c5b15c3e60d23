"""What a classifier with a critic can do: say what it relies on, and what asking would cost."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Sequence

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from lvlm_va.attribution import Explanation
from lvlm_va.backends import ChatBackend, Estimate, Prices
from lvlm_va.common.distributed import on_first
from lvlm_va.critique import (
    BehaviourSummary,
    BehaviourWriter,
    Critique,
    VerdictTable,
    resolve_writer,
    summarize_behaviour,
)
from lvlm_va.data.inputs import check_images
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.image_classifier import ImageClassifier
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.rounds.cost import estimate_round
from lvlm_va.rounds.critique_round import plan_round
from lvlm_va.rounds.options import RoundOptions
from lvlm_va.rounds.types import Round
from lvlm_va.rounds.verdicts import segment_findings
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.segmentation import Segmentation


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
    seconds_: dict[str, float]
    _data_key: str
    _rounds: tuple[Round, ...]
    _seed: int
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
            Requests, images, tokens and money of critic and judge, if all rounds are done; see
            `lvlm_va.rounds.cost.estimate_round`. Trains the module and explains it, as ``fit`` would; with a run
            directory that work is kept for it. Images that ``sampler="adaptive"`` has not chosen yet are taken to be
            like those that it looks at first.
        """
        parameters = self.get_params(deep=False)
        trial = type(self)(**parameters | {"random_state": copy.deepcopy(parameters["random_state"])})
        data, options, key = trial._prepare(X, y, image_ids)
        if options is None:
            return Estimate()
        planned = plan_round(trial.module_, data, options, trial._run, key, trial.seconds_)
        costs = [estimate_round(part, data, options, trial._run, prices) for part in planned]
        return sum(costs * self.n_rounds, start=Estimate())

    def behaviour_summary(
        self, writer: BehaviourWriter | ChatBackend | str | None = None
    ) -> BehaviourSummary:
        """Say for each class what the unaligned module relies on, by what its segments in the first round cover.

        Parameters
        ----------
        writer : BehaviourWriter, chat model, str or None, default=None
            The language model that puts it into words, such as ``"hf:FOLDER"``. None, or a model that fails: a
            template.

        Returns
        -------
        BehaviourSummary
            Shares of the effect and an account per class; ``print`` shows it as text.
        """
        check_is_fitted(self, "critiques_")
        names, first = [str(name) for name in self.classes_], self._rounds[0]
        summary = summarize_behaviour(
            segment_findings(first.explanation, first.segmentation, first.critiques, self.verdicts_, names)
        )
        scribe = resolve_writer(writer)
        if scribe is None:
            return summary
        if self.run_dir is not None:
            scribe = scribe.kept_in(self.run_dir)
        return on_first(lambda: scribe.write(summary, self.verdicts_.specifications))

    def _fitted_data(
        self, X: Images | None, y: ArrayLike | None, image_ids: Sequence[str] | None
    ) -> TrainingData:
        """Return the training data: those that `fit` left here, or the same ones passed again."""
        data: TrainingData | None = getattr(self, "_data", None)
        if X is not None:
            expected = self._data_key if data is None else data.key()
            checked, y = check_images(self, X, y, reset=False)
            data = self._training_data(checked, y, image_ids, module_device_and_dtype(self.module_)[1])
            if data.key() != expected:
                raise ValueError(
                    "The 'X', 'y' and 'image_ids' arguments must be those fitted. Got others instead."
                )
        if data is None:
            raise ValueError(
                "The 'X' and 'y' arguments must be the training data. Got none: copies hold none."
            )
        return data

    @abstractmethod
    def _prepare(
        self, X: Images, y: ArrayLike | None, image_ids: Sequence[str] | None
    ) -> tuple[TrainingData, RoundOptions | None, str]:
        """Check everything and train; return the data, how rounds are done and the key of what was trained."""

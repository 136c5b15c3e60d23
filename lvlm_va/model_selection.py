"""Choose between classifiers without group labels: a scikit-learn scorer that knows what was judged spurious."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.utils.data import Dataset

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.warnings import warn
from lvlm_va.critique import Critic, Judge, VerdictTable
from lvlm_va.critique.checks import undecided
from lvlm_va.critique.resolve import resolve_critic_and_judge
from lvlm_va.data.findings import encode_findings
from lvlm_va.data.inputs import check_images, image_keys, read_dataset
from lvlm_va.data.training_data import Images
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.interventions import transplant_accuracy
from lvlm_va.metrics import right_reasons_accuracy
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.propagation import Propagation, resolve_propagation
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.types import Aligned, Trained
from lvlm_va.rounds.verdicts import keep_verdicts
from lvlm_va.runs.directory import open_run

__all__ = ["RightReasonsScorer"]

# What a classifier may be scored by.
MEASURES = ("transplants", "attributions")


class RightReasonsScorer:
    """Scores classifiers by how often they are right when spurious pixels of other classes are put into images.

    To be passed as ``scoring`` to ``GridSearchCV``, ``HalvingGridSearchCV``, ``cross_val_score`` and the like, for
    classifiers of this package, pipelines and any other that takes the same images. On data in which a shortcut
    agrees with the class, accuracy chooses the classifier that lives off it; this chooses one that does not, and needs
    no group labels. Scoring asks no critic, and takes forwards only.

    Images are known by their pixels: of the images that are scored, those that were critiqued give their spurious
    pixels to the others. Of a pipeline, they are the images that go into it, and its transformers must leave the pixels
    in their places. Of an image that comes several times, the masks are joined. Where several findings are told of each
    image, each is scored by the masks about it, as classes are, and the score is the mean of those that have some.

    Parameters
    ----------
    X : array-like, Tensor or Dataset
        Images in any form that classifiers take: ``uint8`` or in [0, 1], flat or not.
    masks : array-like or Tensor of shape (n, H, W)
        Boolean or 0/1: 1 where a pixel is spurious, or was judged so.
    findings : array-like of shape (n,), default=None
        Where several findings are told of each image: which each mask is about, as a column of y. An image may come
        again with another one.
    measure : {"transplants", "attributions"}, default="transplants"
        The score: `lvlm_va.interventions.transplant_accuracy`, or `lvlm_va.metrics.right_reasons_accuracy` of the
        critiqued images, which sees what speaks for a class but not how much that decides, and needs a classifier of
        this package.

    Raises
    ------
    ValueError
        If there are no images, or the masks, the findings or the measure do not fit.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from lvlm_va import LVLMVAClassifier, RegionCritic
    >>> from lvlm_va.datasets import decoy_digits
    >>> data = decoy_digits("train")
    >>> X, y = data.images[:100], data.labels[:100] % 2
    >>> clf = LVLMVAClassifier("mlp", critic=RegionCritic({"irrelevant": ["corners"]}), n_align=40,
    ...                        epochs=2, align_epochs=1, random_state=0)
    >>> scorer = RightReasonsScorer.from_critiqued(clf.fit(X, y))
    >>> search = GridSearchCV(clf, {"lr": [1e-3, 1e-2]}, scoring=scorer, cv=2)
    >>> bool(0 < search.fit(X, y).best_score_ <= 1)
    True
    """

    def __init__(
        self,
        X: Images,
        masks: ArrayLike | Tensor,
        *,
        findings: ArrayLike | Tensor | None = None,
        measure: str = "transplants",
    ) -> None:
        if measure not in MEASURES:
            raise unknown_name("measure", measure, MEASURES)
        self.measure = measure
        names = image_keys(X)
        array = masks.detach().cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
        if array.ndim != 3 or len(array) != len(names) or not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"The 'masks' argument must be boolean or 0/1, of shape ({len(names)}, H, W), a mask for each image. "
                f"Got {array.dtype} of shape {array.shape} instead."
            )
        self._several = findings is not None
        about = np.asarray([0] * len(names) if findings is None else findings)
        if about.shape != (len(names),) or about.dtype.kind not in "iu" or about.min() < 0:
            raise ValueError(
                f"The 'findings' argument must be integers >= 0, of shape ({len(names)},): which column of y each mask "
                f"is about. Got {about.dtype} of shape {about.shape} instead."
            )
        # Of each finding, by the images' pixels; of classes, as of a single one.
        self._masks: dict[int, dict[str, NDArray[np.bool_]]] = {}
        for finding, name, mask in zip(about.tolist(), names, array.astype(bool), strict=True):
            own = self._masks.setdefault(finding, {})
            own[name] = own[name] | mask if name in own else mask

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(set[str]().union(*self._masks.values()))} images)"

    def __call__(self, estimator: Any, X: Images, y: ArrayLike | None = None) -> float:
        """Return the score of a fitted classifier.

        Parameters
        ----------
        estimator : classifier or Pipeline
            Fitted.
        X : array-like, Tensor or Dataset
            Held-out images.
        y : array-like of shape (n,), or (n, n_findings) of 0 and 1, default=None
            Their labels, or which findings each has; None takes those of a Dataset.

        Returns
        -------
        float
            In [0, 1]; more is better.

        Raises
        ------
        TypeError
            If it is to explain, and cannot.
        ValueError
            If none of the images was critiqued, or their masks are of another size.
        """
        X, y = _in_memory(X, y)
        if y is None:
            raise ValueError("The 'y' argument must hold the labels of the images. Got None instead.")
        labels = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        if (labels.ndim > 1) != self._several:
            wanted = "(n, n_findings), as masks are about findings" if self._several else "(n,)"
            raise ValueError(f"The 'y' argument must be of shape {wanted}. Got {labels.shape} instead.")
        if self._several:
            labels = encode_findings(labels)
            if max(self._masks) >= labels.shape[1]:
                raise ValueError(
                    "The 'y' argument must have a column for each finding that masks are about, at least "
                    f"{max(self._masks) + 1}. Got {labels.shape[1]} instead."
                )
        names = image_keys(X)
        scores = []
        for finding, known in sorted(self._masks.items()):
            rows = [row for row, name in enumerate(names) if name in known]
            if rows:
                masks = np.stack([known[names[row]] for row in rows])
                scores.append(self._score(estimator, X, labels, finding, rows, masks))
        if not scores:
            raise ValueError(
                "The 'X' argument must hold images that were critiqued: their spurious pixels are what is scored by. "
                f"Got {len(names)} others instead. Have more images critiqued, or make folds larger."
            )
        return float(np.mean(scores))

    def _score(
        self, estimator: Any, X: Any, labels: NDArray[Any], finding: int, rows: list[int], masks: NDArray[Any]
    ) -> float:
        """Return the score by the masks of these rows, of classes or of one of several findings."""
        true = labels[:, finding] if self._several else labels

        def predict(images: Any) -> Any:
            said = estimator.predict(images)
            return np.asarray(said)[:, finding] if self._several else said

        if self.measure == "transplants":
            return _transplant_accuracy(predict, X, true, rows, masks)
        transform, classifier = _steps(estimator)
        images = _safe_indexing(X, rows)
        asked = {"finding": classifier.classes_[finding]} if self._several else {}
        # An image that is wrong scores 0 whatever speaks for it, so that the predicted class may be explained.
        return right_reasons_accuracy(
            true[rows],
            predict(images),
            attributions=classifier.explain(transform(images), **asked).attributions,
            masks=masks,
        )

    @classmethod
    def from_critiqued(
        cls,
        estimator: Any,
        X: Images | None = None,
        y: ArrayLike | None = None,
        *,
        image_ids: Sequence[str] | None = None,
        measure: str = "transplants",
    ) -> Self:
        """Return a scorer that knows what a fitted classifier aligned with: no critic is asked.

        These are the critiqued images, and with ``propagate`` those to which the verdicts were extended.

        Parameters
        ----------
        estimator : LVLMVAClassifier, or Pipeline that ends in one
            Fitted, with a critic.
        X, y, image_ids : default=None
            What it was fitted on; needed for a pipeline, and for a classifier that was pickled or copied since.
        measure : {"transplants", "attributions"}, default="transplants"
            The score.

        Returns
        -------
        RightReasonsScorer
            The scorer.

        Raises
        ------
        TypeError, ValueError
            If the estimator is another one or had no critic, or the training data are missing or others.
        """
        transform, classifier = _critiqued(estimator)
        check_is_fitted(classifier, "masks_")
        if X is None and classifier is not estimator:
            raise ValueError(
                "The 'X' argument must hold the images that the pipeline was fitted on. Got None instead."
            )
        if X is not None and classifier is not estimator:
            X, y = _in_memory(X, y)
        data = classifier._fitted_data(None if X is None else transform(X), y, image_ids)
        cases, masks = classifier.aligned_.indices, classifier.masks_
        if hasattr(classifier, "propagated_"):
            cases, masks = classifier.propagated_.indices, classifier.propagated_.masks.numpy()
        rows = data.rows_of(cases).tolist()
        images = data.images[rows] if classifier is estimator else _safe_indexing(X, rows)
        return cls(images, masks, findings=data.findings_of(cases), measure=measure)

    @classmethod
    def from_critic(
        cls,
        estimator: Any,
        X: Images,
        y: ArrayLike | None = None,
        *,
        critic: Critic | Mapping[Any, Any] | str | None = None,
        judge: Judge | str | None = None,
        propagate: bool | Propagation = False,
        image_ids: Sequence[str] | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        measure: str = "transplants",
    ) -> Self:
        """Have held-out images critiqued, all of them and once, and return a scorer that knows the verdicts.

        Parameters
        ----------
        estimator : LVLMVAClassifier, or Pipeline that ends in one
            Fitted; its unaligned module is explained, by its parameters.
        X : array-like, Tensor or Dataset
            Images, as many as the critic is to be asked about.
        y : array-like of shape (n,), or (n, n_findings) of 0 and 1, default=None
            Their labels, or which findings each has; None takes those of a Dataset. The critic is asked about each
            finding of each image.
        critic, judge : default=None
            Who judges; without a critic the estimator's own are asked.
        propagate : bool or Propagation, default=False
            Whether to correct the verdicts by each other, and to look for a consensus; see
            `lvlm_va.propagation.Propagation`.
        image_ids : sequence of str, default=None
            Names of the images; None numbers them.
        run_dir : path-like or None, default=None
            Folder in which critiques are kept and found again; not that of a fit.
        measure : {"transplants", "attributions"}, default="transplants"
            The score.

        Returns
        -------
        RightReasonsScorer
            The scorer.

        Raises
        ------
        TypeError, ValueError
            If the estimator is another one, or images, labels, critic or folder do not fit.
        """
        transform, classifier = _critiqued(estimator)
        check_is_fitted(classifier, "module_")
        own = getattr(classifier, "unaligned_module_", classifier.module_)
        module = classifier._net(own)
        X, y = _in_memory(X, y)
        images, y = check_images(classifier, transform(X), y, reset=False)
        data = classifier._training_data(images, y, image_ids, module_device_and_dtype(module)[1])
        if critic is None:
            critic, judge = classifier.critic, classifier.judge if judge is None else judge
        asked, reader = resolve_critic_and_judge(critic, judge, run_dir)
        if asked is None:
            raise ValueError(
                "The 'critic' argument must name who judges, where the estimator has no critic. Got None instead."
            )
        options = replace(
            classifier._options(classifier._explainer(), asked, reader),
            sampler=_all,
            n_align=data.n_cases,
            n_rounds=1,
            propagation=resolve_propagation(propagate),
            held_out_fraction=None,
        )
        options.check(data)
        job = AlignmentJob(data, options, open_run(run_dir, data), classifier.job_.seed)
        with job.run.exclusive():
            masks = _judged_masks(job, Trained(module, job.run.key(module)))
        cases = torch.arange(data.n_cases)
        images = _safe_indexing(X, data.rows_of(cases).tolist()) if data.multilabel else X
        return cls(images, masks, findings=data.findings_of(cases), measure=measure)


def _transplant_accuracy(
    predict: Callable[[Any], Any], X: Any, y: ArrayLike, rows: Sequence[int], masks: NDArray[np.bool_]
) -> float:
    """Return `transplant_accuracy` of images in the form in which a classifier takes them."""
    given = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X)
    height, width = masks.shape[1:]
    if given[0].size % (height * width) or (given.ndim > 2 and given.shape[-2:] != (height, width)):
        raise ValueError(
            f"The 'X' argument must hold images of the masks' size, {height} x {width}. Got shape {given.shape}."
        )

    def predict_again(images: Tensor) -> ArrayLike:
        pixels = images.numpy().reshape(given.shape)
        as_given = (pixels.round() if given.dtype.kind in "iu" else pixels).astype(given.dtype)
        if hasattr(X, "iloc"):
            as_given = type(X)(as_given, index=X.index, columns=X.columns)
        said: ArrayLike = predict(as_given)
        return said

    return transplant_accuracy(
        predict_again,
        torch.from_numpy(given.reshape(len(given), -1, height, width).astype(np.float64)),
        y,
        torch.tensor(rows),
        torch.from_numpy(masks),
    )


def _steps(estimator: Any) -> tuple[Callable[[Any], Any], Any]:
    """Return what happens to images before they reach the classifier, and the classifier."""
    transform, classifier = (lambda X: X), estimator
    if isinstance(estimator, Pipeline):
        classifier = estimator[-1]
        if len(estimator) > 1:
            transform = estimator[:-1].transform
    if not hasattr(classifier, "explain"):
        raise TypeError(
            "The 'estimator' argument must be a classifier of this package, or a Pipeline that ends in one. "
            f"Got {type(classifier).__name__} instead, which cannot explain."
        )
    return transform, classifier


def _critiqued(estimator: Any) -> tuple[Callable[[Any], Any], LVLMVAClassifier]:
    transform, classifier = _steps(estimator)
    if not isinstance(classifier, LVLMVAClassifier):
        raise TypeError(
            "The 'estimator' argument must be an LVLMVAClassifier, or a Pipeline that ends in one. "
            f"Got {type(classifier).__name__} instead."
        )
    return transform, classifier


def _judged_masks(job: AlignmentJob, trained: Trained) -> Tensor:
    """Have all cases critiqued, and return what is spurious by that, as corrected and extended: (n_cases, H, W)."""
    critiqued = job.critique(Aligned(trained, trained, VerdictTable()))
    verdicts = job.corrected(critiqued)
    keep_verdicts(verdicts, critiqued.rounds, job.run)
    if why := undecided(verdicts.verdicts):
        warn(why)
    job.run.publish(seconds=job.run.seconds)
    rounds = critiqued.judged_by(verdicts).rounds
    propagated = job.propagate(rounds)
    return job.mask(rounds).masks if propagated is None else propagated.masks


def _in_memory(X: Images, y: ArrayLike | None) -> tuple[Any, Any]:
    """Return images and labels that can be indexed."""
    if isinstance(X, Dataset):
        X, labels = read_dataset(X)
        y = labels if y is None else y
    return X, y


def _all(probabilities: Any, labels: Any, n_align: int, rng: Any) -> NDArray[np.int64]:
    return np.arange(n_align)

"""What every image classifier with a fitted module can do: predict, explain, be pickled."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from lvlm_va.attribution import (
    Attributor,
    Explainer,
    Explanation,
    ReferenceSet,
    concatenate_explanations,
    resolve_attributor,
)
from lvlm_va.common.distributed import on_first
from lvlm_va.data.findings import (
    encode_findings,
    finding_names,
    is_multilabel,
    label_codes,
    outcome_names,
    outcomes_of,
    refuse_one_hot,
)
from lvlm_va.data.inputs import (
    as_image_rows,
    check_image_ids,
    check_images,
    encode_labels,
    open_dataset,
    resolve_image_shape,
)
from lvlm_va.data.stored_images import ImageRows, StoredImages
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.modules.build import build_module
from lvlm_va.modules.checks import check_module
from lvlm_va.modules.class_order import check_class_order, given_order, order_of_checkpoint, sort_classes
from lvlm_va.modules.heads import decisions, probabilities
from lvlm_va.modules.logits import module_device_and_dtype, on_cpu, predict_logits
from lvlm_va.modules.named import folder_of, preprocess_of
from lvlm_va.modules.outputs import with_output
from lvlm_va.modules.preprocessed import preprocessed, with_preprocess
from lvlm_va.modules.preprocessing import Preprocess, resolve_preprocess
from lvlm_va.modules.saving import OF_THE_NET, InAndOut, save_module
from lvlm_va.modules.tasks import Task, accepted_logits, task_of


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """Base of estimators whose ``fit`` leaves a torch module behind.

    Attributes
    ----------
    module_ : torch.nn.Module
        The classifier.
    classes_ : ndarray of shape (n_classes,)
        The classes, in the order of the logits; of several findings per image, these.
    task_ : {"multiclass", "binary", "multilabel"}
        What ``module_`` tells: one of several classes; one of two by one logit; or several findings, each by its own.
    image_shape_ : tuple of (C, H, W)
        Shape of one image.
    preprocess_ : torch.nn.Module or None
        What images in [0, 1] go through before they reach ``module_``, which does not hold it.
    references_ : ReferenceSet
        What explanations are measured against.
    """

    module: nn.Module | Callable[[], nn.Module] | str | None
    classes: Sequence[Any] | NDArray[Any] | None
    image_shape: tuple[int, ...] | None
    preprocess: Preprocess | None
    task: str = "multiclass"
    output: str | int | None = None
    attribution: str | Attributor
    references: str | ArrayLike | Tensor
    n_references: int
    epochs: int
    batch_size: int
    module_: nn.Module
    classes_: NDArray[Any]
    task_: Task
    image_shape_: tuple[int, int, int]
    preprocess_: nn.Module | None
    references_: ReferenceSet

    def predict_proba(self, X: Images) -> NDArray[np.float64]:
        """Return class probabilities.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            In the order of ``classes_``: softmax of the logits, or of one logit its sigmoid and the rest to 1. Of
            several findings, that each is present.
        """
        check_is_fitted(self, "module_")
        return probabilities(self._logits(X), multilabel=self._multilabel).numpy()

    def predict(self, X: Images) -> NDArray[Any]:
        """Return the most probable class of each image, or which findings it has.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n,), or (n, n_classes), int64
            Classes; of several findings 1 where one is present, else 0.
        """
        check_is_fitted(self, "module_")
        found = decisions(self._logits(X), multilabel=self._multilabel).numpy()
        return found if self._multilabel else np.asarray(self.classes_[found])

    def score(self, X: Images, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy; of several findings per image, the share of images in which all are right.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.
        y : array-like of shape (n,) or (n, n_classes), default=None
            Labels; None takes those of a Dataset.
        sample_weight : array-like of shape (n,), default=None
            Weights.

        Returns
        -------
        float
            In [0, 1].
        """
        if isinstance(X, Dataset):
            X, labels = open_dataset(X, getattr(self, "num_workers", None))
            y = labels if y is None else y
        predicted = self.predict(X)
        if y is None and isinstance(X, StoredImages):
            y = X.labels()  # read with the images
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def explain(
        self, X: Images, y: ArrayLike | None = None, *, finding: Any | ArrayLike = None
    ) -> Explanation:
        """Attribute the logit of a class, or of a finding, to the pixels of each image.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.
        y : array-like of shape (n,), or (n, n_classes) for several findings, default=None
            Classes to explain; None explains the predicted ones. Of one logit z, and of a finding's, what is predicted
            or said to be absent is explained by -z: what speaks against it.
        finding : one of ``classes_``, or array-like of shape (n,) of them, default=None
            Of several findings, which to explain, for all images or for each.

        Returns
        -------
        Explanation
            Attributions and their completeness errors. Of findings, ``target`` counts outcomes: 2k where finding k is
            absent, 2k + 1 where it is present.

        Raises
        ------
        ValueError
            If `finding` is missing or unknown, or given where labels are classes.
        """
        check_is_fitted(self, "module_")
        images, net = self._images(X), self._net(self.module_)
        if self._multilabel:
            which = encode_labels(
                np.broadcast_to(self._known_findings(finding), (len(images),)), self.classes_
            )[1]
        elif finding is not None:
            raise ValueError("The 'finding' argument must be None where the labels are classes. Got one.")
        if y is not None:
            target = self._encode(y, "y")
        else:
            logits = predict_logits(net, images, batch_size=self.batch_size)
            target = decisions(logits, multilabel=self._multilabel)
        if self._multilabel:
            target = outcomes_of(target, torch.from_numpy(which))
        found = [part for _, part in self._explainer().in_portions(net, images, target)]
        return concatenate_explanations(found)

    def export_model(self, folder: str | os.PathLike[str], format: str = "safetensors") -> Path:
        """Write the classifier for use without this package.

        Parameters
        ----------
        folder : path-like
            Gets the net, and ``model.json``, which names classes, image shape and normalisation.
        format : {"state-dict", "safetensors", "transformers", "torch-export", "onnx"}, default="safetensors"
            See `lvlm_va.modules.saving.save_module`. The last two take images in [0, 1] and normalise them; the others
            hold ``module_`` alone.

        Returns
        -------
        Path
            What was written.

        Raises
        ------
        ImportError
            If ONNX's packages are missing (extra ``onnx``).
        ValueError
            If the net cannot be written in this format.
        """
        check_is_fitted(self, "module_")
        about = InAndOut(self.image_shape_, [str(name) for name in self.classes_], self.task_)
        net = self.module_ if format in OF_THE_NET else with_output(self.module_, self.output)
        return on_first(lambda: save_module(net, self.preprocess_, folder, format, about))

    def _own_preprocess(self) -> Preprocess | None:
        """Return how images are normalised: as the user says, or else the folder that ``module`` names."""
        return preprocess_of(self.module) if self.preprocess is None else self.preprocess

    @property
    def _normalises(self) -> bool:
        """Whether images are normalised here; what was fitted counts, the folder may be gone since."""
        if hasattr(self, "preprocess_"):
            return self.preprocess_ is not None
        return self._own_preprocess() is not None

    def _known_findings(self, finding: Any) -> NDArray[Any]:
        asked = np.asarray(finding)
        if finding is None or not np.isin(asked, self.classes_).all():
            raise ValueError(
                f"The 'finding' argument must say which of {self.classes_.tolist()} to explain. "
                f"Got {finding!r} instead."
            )
        return asked

    @property
    def _multilabel(self) -> bool:
        return self.task_ == "multilabel"

    @property
    def _finding_names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.classes_) if self._multilabel else ()

    def _net(self, module: nn.Module) -> nn.Module:
        """Return a module of the user's as it takes images in [0, 1] and returns logits."""
        return with_preprocess(with_output(module, self.output), self.preprocess_)

    def _logits(self, X: Images) -> Tensor:
        return predict_logits(self._net(self.module_), self._images(X), batch_size=self.batch_size)

    def _encode(self, y: Any, argument: str) -> Tensor:
        """Return labels as they are numbered here: int64 of shape (n,), or (n, K) for findings."""
        if self._multilabel:
            return torch.from_numpy(encode_findings(y, len(self.classes_), argument=argument))
        return torch.from_numpy(encode_labels(y, self.classes_)[1])

    def _explainer(self) -> Explainer:
        attributor = resolve_attributor(self.attribution)
        return Explainer(attributor, self.references_, sigmoid=self.task_ != "multiclass")

    def _labelled(self, X: Images, y: ArrayLike | None, argument: str) -> tuple[ImageRows, Tensor]:
        """Return images of the shape that was fitted, and their labels, as `_encode` numbers them."""
        if isinstance(X, Dataset):
            X, labels = open_dataset(X, getattr(self, "num_workers", None))
            y = labels if y is None else y
        if y is None and isinstance(X, StoredImages):
            y = X.labels()
        if y is None:
            raise ValueError(
                f"The {argument!r} argument must hold the labels of the images. Got None instead."
            )
        return self._images(X), self._encode(y, argument)

    def _images(self, X: Images) -> ImageRows:
        """Return images of the shape that was fitted; flat rows are read as such."""
        if isinstance(X, Dataset):
            X, _ = open_dataset(X, getattr(self, "num_workers", None))
        checked, _ = check_images(self, X, reset=False)
        return as_image_rows(checked, self.image_shape_, module_device_and_dtype(self.module_)[1])

    def _read(
        self,
        X: NDArray[Any] | StoredImages,
        y: ArrayLike,
        image_ids: Sequence[str] | None,
        seed: int,
        *,
        differentiable: bool,
    ) -> tuple[nn.Module, TrainingData]:
        """Set what ends in _ but the net; return the checked module, behind `preprocess`, and its training data."""
        multilabel = is_multilabel(self.task, np.shape(y))
        if multilabel:
            y = encode_findings(y)
            if self.task == "auto":
                refuse_one_hot(y)
            found = self.classes_ = finding_names(self.classes, y.shape[1])
            accepted: tuple[int, ...] = (len(found),)
        else:
            found = sort_classes(encode_labels(y)[0])
            self.classes_ = found if self.classes is None else given_order(found, self.classes)
            accepted = accepted_logits(self.task, len(found))
        self.image_shape_ = resolve_image_shape(X, self.image_shape)
        self.preprocess_ = resolve_preprocess(self._own_preprocess(), self.image_shape_[0])
        module = build_module(
            self.module,
            self.image_shape_,
            accepted[0],
            seed=seed,
            default_dtype=torch.float64 if X.dtype in (np.float64, torch.float64) else torch.float32,
        )
        if self.classes is None and not multilabel:
            self.classes_ = order_of_checkpoint(module, found, trained=not self.epochs)
        module = with_output(module, self.output)
        device, dtype = module_device_and_dtype(module)
        self.task_ = "multilabel" if multilabel else "multiclass"
        data = self._training_data(X, y, image_ids, dtype)
        seen = data.images[:2]
        if self.preprocess_ is not None:
            seen = preprocessed(self.preprocess_.to("cpu", dtype), seen, differentiable=differentiable)
            self.preprocess_.to(device)
        n_logits = check_module(module, seen, accepted, differentiable=differentiable, softmax=not multilabel)
        self.task_ = task_of(n_logits, data.labels)
        self.references_ = ReferenceSet.choose(
            self.references, data.images, label_codes(data.labels), self.n_references, seed=seed
        )
        return with_preprocess(module, self.preprocess_), data

    def _check_class_order(self, module: nn.Module, data: TrainingData) -> None:
        """Tell of a trained module, taken as it is, whose logits do not seem to be in the order of ``classes_``."""
        # No built-in net is trained.
        trained = isinstance(self.module, nn.Module | Callable) or folder_of(self.module) is not None
        if trained and not self.epochs:
            given = self.classes is not None
            check_class_order(module, data, self.classes_, given=given, batch_size=self.batch_size)

    def _training_data(
        self,
        X: NDArray[Any] | StoredImages,
        y: ArrayLike,
        image_ids: Sequence[str] | None,
        dtype: torch.dtype,
    ) -> TrainingData:
        names, findings = tuple(str(name) for name in self.classes_), self._finding_names
        return TrainingData(
            images=as_image_rows(X, self.image_shape_, dtype),
            labels=self._encode(y, "y"),
            class_names=outcome_names(findings) or names,
            image_ids=check_image_ids(image_ids, len(X)),
            findings=findings,
        )

    def __getstate__(self) -> dict[str, Any]:
        # A pickle made on a machine with a GPU must load on one without.
        return {
            name: on_cpu(value) if isinstance(value, nn.Module) and name.endswith("_") else value
            for name, value in super().__getstate__().items()
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_label = self.task in ("auto", "multilabel")
        return tags

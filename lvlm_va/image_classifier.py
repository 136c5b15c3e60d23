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
from lvlm_va.modules.logits import module_device_and_dtype, on_cpu, predict_logits
from lvlm_va.modules.named import folder_of, preprocess_of
from lvlm_va.modules.preprocessed import preprocessed, with_preprocess
from lvlm_va.modules.preprocessing import Preprocess, resolve_preprocess
from lvlm_va.modules.saving import InAndOut, save_module


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """Base of estimators whose ``fit`` leaves a torch module behind.

    Attributes
    ----------
    module_ : torch.nn.Module
        The classifier.
    classes_ : ndarray of shape (n_classes,)
        The classes, in the order of the logits.
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
    attribution: str | Attributor
    references: str | ArrayLike | Tensor
    n_references: int
    epochs: int
    batch_size: int
    module_: nn.Module
    classes_: NDArray[Any]
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
            Softmax of the logits, in the order of ``classes_``.
        """
        check_is_fitted(self, "module_")
        images = self._images(X)
        net = with_preprocess(self.module_, self.preprocess_)
        return predict_logits(net, images, batch_size=self.batch_size).softmax(1).numpy()

    def predict(self, X: Images) -> NDArray[Any]:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.

        Returns
        -------
        ndarray of shape (n,)
            Classes.
        """
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def score(self, X: Images, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.
        y : array-like of shape (n,), default=None
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

    def explain(self, X: Images, y: ArrayLike | None = None) -> Explanation:
        """Attribute the logit of a class to the pixels of each image.

        Parameters
        ----------
        X : array-like, Tensor or Dataset
            Images of the shape that was fitted.
        y : array-like of shape (n,), default=None
            Classes to explain; None explains the predicted ones.

        Returns
        -------
        Explanation
            Attributions and their completeness errors.
        """
        check_is_fitted(self, "module_")
        images, net = self._images(X), with_preprocess(self.module_, self.preprocess_)
        if y is None:
            target = predict_logits(net, images, batch_size=self.batch_size).argmax(1)
        else:
            target = torch.from_numpy(encode_labels(y, self.classes_)[1])
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
        about = InAndOut(self.image_shape_, [str(name) for name in self.classes_])
        return on_first(lambda: save_module(self.module_, self.preprocess_, folder, format, about))

    def _own_preprocess(self) -> Preprocess | None:
        """Return how images are normalised: as the user says, or else the folder that ``module`` names."""
        return preprocess_of(self.module) if self.preprocess is None else self.preprocess

    @property
    def _normalises(self) -> bool:
        """Whether images are normalised here; what was fitted counts, the folder may be gone since."""
        if hasattr(self, "preprocess_"):
            return self.preprocess_ is not None
        return self._own_preprocess() is not None

    def _explainer(self) -> Explainer:
        return Explainer(resolve_attributor(self.attribution), self.references_)

    def _labelled(self, X: Images, y: ArrayLike | None, argument: str) -> tuple[ImageRows, Tensor]:
        """Return images of the shape that was fitted, and their class numbers: int64 tensor of shape (n,)."""
        if isinstance(X, Dataset):
            X, labels = open_dataset(X, getattr(self, "num_workers", None))
            y = labels if y is None else y
        if y is None and isinstance(X, StoredImages):
            y = X.labels()
        if y is None:
            raise ValueError(
                f"The {argument!r} argument must hold the labels of the images. Got None instead."
            )
        return self._images(X), torch.from_numpy(encode_labels(y, self.classes_)[1])

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
        found = sort_classes(encode_labels(y)[0])
        self.classes_ = found if self.classes is None else given_order(found, self.classes)
        self.image_shape_ = resolve_image_shape(X, self.image_shape)
        self.preprocess_ = resolve_preprocess(self._own_preprocess(), self.image_shape_[0])
        module = build_module(
            self.module,
            self.image_shape_,
            len(found),
            seed=seed,
            default_dtype=torch.float64 if X.dtype in (np.float64, torch.float64) else torch.float32,
        )
        if self.classes is None:
            self.classes_ = order_of_checkpoint(module, found, trained=not self.epochs)
        device, dtype = module_device_and_dtype(module)
        data = self._training_data(X, y, image_ids, dtype)
        seen = data.images[:2]
        if self.preprocess_ is not None:
            seen = preprocessed(self.preprocess_.to("cpu", dtype), seen, differentiable=differentiable)
            self.preprocess_.to(device)
        check_module(module, seen, len(self.classes_), differentiable=differentiable)
        self.references_ = ReferenceSet.choose(
            self.references, data.images, data.labels, self.n_references, seed=seed
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
        return TrainingData(
            images=as_image_rows(X, self.image_shape_, dtype),
            labels=torch.from_numpy(encode_labels(y, self.classes_)[1]),
            class_names=tuple(str(name) for name in self.classes_),
            image_ids=check_image_ids(image_ids, len(X)),
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
        return tags

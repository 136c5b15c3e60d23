"""What all rivals have in common: their parameters, and ``fit`` with nothing, groups or masks besides the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import HasMethods, Interval
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet, History, TrainingOptions, TrainingResult, Weighting, train
from lvlm_va.attribution import Attributor
from lvlm_va.common.device import resolve_device
from lvlm_va.common.timing import timed
from lvlm_va.comparison.groups import Groups, resolve_groups
from lvlm_va.comparison.masks import resolve_masks
from lvlm_va.data.inputs import check_images, draw_seed
from lvlm_va.data.stored_images import ImageRows
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.image_classifier import ImageClassifier
from lvlm_va.modules.preprocessed import own_module
from lvlm_va.modules.preprocessing import Preprocess


# scikit-learn reads parameters from the signature of __init__, which the decorator writes, inherited fields included.
@dataclass(eq=False, repr=False)
class RivalClassifier(ImageClassifier):
    """Base of the methods that `lvlm_va.LVLMVAClassifier` is compared with.

    Parameters
    ----------
    module : torch.nn.Module, callable, {"mlp", "cnn", "resnet8", "resnet18"} or None, default=None
        The classifier to train, as in `lvlm_va.LVLMVAClassifier`; never changed.
    classes : array-like of shape (n_classes,), default=None
        The labels in the order of the module's logits, as in `lvlm_va.LVLMVAClassifier`.
    image_shape : tuple of (C, H, W) or (H, W), default=None
        How to read flat rows of X. None reads a row as one line of pixels.
    preprocess : mapping, transform, image processor, callable or None, default=None
        What a trained module expects of images in [0, 1], as in `lvlm_va.LVLMVAClassifier`.
    attribution, references, n_references : default="deeplift_shap", "class_balanced" and 20
        How ``explain`` attributes predictions, as in `lvlm_va.LVLMVAClassifier`.
    epochs : int, default=10
        Epochs of training; 0 takes the module as it is.
    batch_size : int, default=256
        Images per batch.
    lr : float, default=1e-3
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimizer, or ``(parameters, lr) -> torch.optim.Optimizer``.
    schedule : {"cooldown", "cosine", "linear", "step"}, callable or None, default=None
        Learning-rate schedule; see `lvlm_va.alignment.TrainingOptions`.
    l2 : float, default=0.0
        Weight of the squared norm of all parameters in the loss.
    device : str, default="auto"
        Where to compute: "auto" takes a CUDA GPU when there is one.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, batches, references and all that the method draws.
    verbose : int, default=0
        1 shows progress bars.

    Attributes
    ----------
    module_ : torch.nn.Module
        The classifier that was fitted.
    classes_, image_shape_ : ndarray of shape (n_classes,), tuple of (C, H, W)
        The classes, and the shape of one image.
    references_ : ReferenceSet
        What explanations are measured against.
    history_ : dict of str to tuple of History
        Curves of each run of the training loop, by stage.
    seconds_ : dict of str to float
        Wall-clock seconds of each stage.
    """

    needs_groups: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = False

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [HasMethods("forward"), callable, str, None],
        "classes": ["array-like", None],
        "image_shape": [tuple, list, None],
        "preprocess": [Mapping, callable, None],
        "attribution": [str, HasMethods("attribute")],
        "references": ["array-like", str, HasMethods("detach")],
        "n_references": [Interval(Integral, 1, None, closed="left")],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [str, callable],
        "schedule": [str, callable, None],
        "l2": [Interval(Real, 0, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    module: nn.Module | Callable[[], nn.Module] | str | None = None
    _: KW_ONLY
    classes: Sequence[Any] | NDArray[Any] | None = None
    image_shape: tuple[int, ...] | None = None
    preprocess: Preprocess | None = None
    attribution: str | Attributor = "deeplift_shap"
    references: str | ArrayLike | Tensor = "class_balanced"
    n_references: int = 20
    epochs: int = 10
    batch_size: int = 256
    lr: float = 1e-3
    optimizer: str | Callable[..., torch.optim.Optimizer] = "adam"
    schedule: str | Callable[..., Any] | None = None
    l2: float = 0.0
    device: str = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    def _fit(
        self,
        X: Images,
        y: ArrayLike | None,
        make_module: Callable[[nn.Module, TrainingData, int], nn.Module],
    ) -> Self:
        """Check everything, and take as ``module_`` what `make_module` makes of module, data and seed."""
        self._validate_params()
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)  # what an earlier fit left
        seed = draw_seed(self.random_state, kept=False)
        pixels, y = check_images(self, X, y, reset=True)
        module, data = self._read(pixels, y, None, seed, differentiable=True)
        del X, pixels
        self.seconds_: dict[str, float] = {}
        self.history_: dict[str, tuple[History, ...]] = {}
        module.to(resolve_device(self.device))
        self._check_class_order(module, data)
        self.module_ = own_module(make_module(module, data, seed))
        return self

    def _train(
        self,
        stage: str,
        module: nn.Module,
        images: ImageRows,
        labels: Tensor,
        seed: int,
        *,
        alignment_set: AlignmentSet | None = None,
        repeats: Tensor | None = None,
        weighting: Weighting | None = None,
        **changes: Any,
    ) -> TrainingResult:
        """Run the training loop with the estimator's parameters and `changes` to them."""
        names = ("epochs", "batch_size", "lr", "optimizer", "schedule", "l2")
        options = replace(TrainingOptions(**{name: getattr(self, name) for name in names}), **changes)
        with timed(self.seconds_, stage):
            result = train(
                module,
                images,
                labels,
                options,
                alignment_set=alignment_set,
                repeats=repeats,
                weighting=weighting,
                seed=seed,
                verbose=self.verbose,
            )
        self.history_[stage] = (result.history,)
        return result


class PlainRival(RivalClassifier, ABC):
    """A rival that knows the labels only."""

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Train the classifier.

        Parameters
        ----------
        X : array-like of shape (n, C, H, W), (n, H, W) or (n, d), Tensor, or Dataset
            Training images; floats in [0, 1], or uint8, which is divided by 255.
        y : array-like of shape (n,)
            Labels. May be None for a Dataset that holds them.

        Returns
        -------
        RivalClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If images, labels and module do not fit together, or the method cannot work on them.
        """
        return self._fit(X, y, self._make_module)

    @abstractmethod
    def _make_module(self, module: nn.Module, data: TrainingData, seed: int) -> nn.Module:
        """Return what the method makes of module and data."""


class GroupRival(RivalClassifier, ABC):
    """A rival that is told the group of every training image."""

    needs_groups: ClassVar[bool] = True

    def fit(self, X: Images, y: ArrayLike | None = None, *, groups: ArrayLike | None = None) -> Self:
        """Train the classifier with group labels.

        Parameters
        ----------
        X : array-like of shape (n, C, H, W), (n, H, W) or (n, d), Tensor, or Dataset
            Training images; floats in [0, 1], or uint8, which is divided by 255.
        y : array-like of shape (n,)
            Labels. May be None for a Dataset that holds them.
        groups : array-like of shape (n,)
            Group of each image. Either names of groups within a class (``"melanoma/plaster"``), or values of an
            attribute that classes share (``"plaster"``): then every pair of class and value is a group.

        Returns
        -------
        RivalClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If images, labels, groups and module do not fit together, the group of an image is missing, a group is
            empty, or no class holds two groups.
        """
        return self._fit(
            X,
            y,
            lambda module, data, seed: self._make_module(module, data, resolve_groups(groups, data), seed),
        )

    @abstractmethod
    def _make_module(self, module: nn.Module, data: TrainingData, groups: Groups, seed: int) -> nn.Module:
        """Return what the method makes of module and data."""


class MaskRival(RivalClassifier, ABC):
    """A rival that is told the spurious pixels of every training image."""

    needs_masks: ClassVar[bool] = True

    def fit(self, X: Images, y: ArrayLike | None = None, *, masks: ArrayLike | Tensor | None = None) -> Self:
        """Train the classifier with masks of what must not count.

        Parameters
        ----------
        X : array-like of shape (n, C, H, W), (n, H, W) or (n, d), Tensor, or Dataset
            Training images; floats in [0, 1], or uint8, which is divided by 255.
        y : array-like of shape (n,)
            Labels. May be None for a Dataset that holds them.
        masks : array-like or Tensor of shape (n, H, W), bool or floating in [0, 1]
            1 where a pixel is spurious; a mask without such a pixel is allowed, but not all of them.

        Returns
        -------
        RivalClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If images, labels, masks and module do not fit together.
        """
        return self._fit(
            X,
            y,
            lambda module, data, seed: self._make_module(module, data, resolve_masks(masks, data), seed),
        )

    @abstractmethod
    def _make_module(self, module: nn.Module, data: TrainingData, masks: Tensor, seed: int) -> nn.Module:
        """Return what the method makes of module and data."""

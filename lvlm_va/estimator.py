"""The scikit-learn estimator in front: parameters, validation and the order of the stages, nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.utils.data import Dataset

from lvlm_va._inputs import as_image_tensor, check_images, resolve_image_shape
from lvlm_va._logits import module_device_and_dtype, predict_logits
from lvlm_va._modules import build_module, check_module
from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.attribution import Attributor, Explanation, resolve_attributor
from lvlm_va.critique import Critic, VerdictTable, resolve_critic
from lvlm_va.rounds import Round, RoundOptions, TrainingData, corrective_masks, explain, run_round, timed
from lvlm_va.run_directory import RunDirectory
from lvlm_va.segmentation import Segmenter, concatenate_segmentations, resolve_segmenter

Images = ArrayLike | Tensor | Dataset[Any]


class LVLMVAClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An image classifier that is told in words what should count, and is mended accordingly.

    ``fit`` trains the module (or takes a trained one with ``epochs=0``), explains the predictions on a small
    alignment set, cuts each explanation into segments, lets the critic judge every segment, and fine-tunes the
    module to ignore the segments judged spurious (LVLM-VA, arXiv 2512.21985).

    Parameters
    ----------
    module : torch.nn.Module, callable, {"mlp", "cnn", "resnet18"} or None, default=None
        The classifier: a module (never changed; a copy is trained), a callable without arguments that returns
        one, a built-in net, or None for one hidden layer of 256 ReLUs in the dtype of X. Its output is a logits
        tensor of shape (n, n_classes) or an object with such a tensor as ``.logits``.
    critic : object with ``critique``, str or None, default=None
        Who judges the segments, for example `RegionCritic`, or ``"table:PATH"``. None only trains.
    specifications : mapping of class to str, default=None
        What should count for each class, in words; handed to the critic.
    image_shape : tuple of (C, H, W) or (H, W), default=None
        How to read flat rows of X. None reads a row as one line of pixels.
    sampler : {"low_entropy", "high_entropy", "random", "class_balanced"} or callable, default="low_entropy"
        Which training images are critiqued; see `lvlm_va.sampling`.
    n_align : int, default=300
        Number of images critiqued in each round; must not exceed the training images.
    attribution : {"deeplift_shap", "integrated_gradients", "gradient_x_input"} or Attributor, \
            default="deeplift_shap"
        How predictions are attributed to pixels.
    references : {"class_balanced", "zeros", "mean", "blurred"} or array of shape (B, C, H, W), \
            default="class_balanced"
        What attributions are measured against; the first is a random draw from the training images.
    n_references : int, default=20
        Number of references drawn by ``"class_balanced"``.
    segmenter : {"ppeps_wgm", "grid", "slic"} or Segmenter, default="ppeps_wgm"
        How attributions are cut into segments.
    rrr_strength : float or "auto", default="auto"
        Weight of the right-for-the-right-reasons penalty, for inputs in [0, 1]; "auto" follows the data.
    l2 : float, default=0.0
        Weight of the squared norm of all parameters in the loss.
    align_fraction : float in (0, 1], default=0.5
        Share of critiqued images in each batch of the alignment, oversampled as needed.
    epochs : int, default=10
        Epochs of ordinary training; 0 takes the module as it is.
    align_epochs : int, default=10
        Epochs of alignment in each round.
    n_rounds : int, default=1
        Rounds of critique and alignment; each critiques `n_align` new images, and the masks add up.
    batch_size : int, default=256
        Images per batch.
    lr : float, default=1e-3
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimizer, or ``(parameters, lr) -> torch.optim.Optimizer``.
    schedule : str, callable or None, default=None
        Learning-rate schedule; see `lvlm_va.alignment.TrainingOptions`.
    device : str, default="auto"
        Where to compute: "auto" takes a CUDA GPU when there is one.
    run_dir : path-like or None, default=None
        Folder in which every stage keeps its result and finds it again; holds one run (one set of training data).
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, batches, samples, references and segment starts.
    verbose : int, default=0
        1 shows progress bars.

    Attributes
    ----------
    module_ : torch.nn.Module
        The aligned classifier.
    unaligned_module_ : torch.nn.Module
        The classifier before alignment (with a critic only, as all that follow but the last four).
    alignment_set_ : ndarray of shape (a,), int64
        Rows of X that were critiqued.
    explanation_ : Explanation
        Attributions of those images.
    segments_ : Segmentation
        Their segments.
    critiques_ : tuple of Critique
        What the critic said.
    verdicts_ : VerdictTable
        The verdict on every segment.
    masks_ : ndarray of shape (a, H, W), bool
        True where a segment was judged spurious.
    history_ : dict of str to tuple of History
        Curves of ``"train"`` and ``"align"``, one per run of the training loop.
    classes_ : ndarray of shape (n_classes,)
        The classes.
    image_shape_ : tuple of (C, H, W)
        Shape of one image.
    seconds_ : dict of str to float
        Wall-clock seconds of each stage.

    See Also
    --------
    lvlm_va.critique.RegionCritic : A critic from declared regions, without an LVLM.

    References
    ----------
    .. [1] LVLM-VA, arXiv 2512.21985.
    .. [2] A. Ross, M. Hughes, F. Doshi-Velez, "Right for the Right Reasons", IJCAI 2017.

    Examples
    --------
    >>> from lvlm_va import LVLMVAClassifier, RegionCritic
    >>> from lvlm_va.datasets import decoy_digits
    >>> data = decoy_digits("train")
    >>> clf = LVLMVAClassifier("mlp", critic=RegionCritic({"irrelevant": ["corners"]}), n_align=50,
    ...                        epochs=2, align_epochs=1, random_state=0)
    >>> clf.fit(data.images, data.labels).predict(data.images[:2]).shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [HasMethods("forward"), callable, str, None],
        "critic": [HasMethods("critique"), str, None],
        "specifications": [Mapping, None],
        "image_shape": [tuple, list, None],
        "sampler": [str, callable],
        "n_align": [Interval(Integral, 1, None, closed="left")],
        "attribution": [str, HasMethods("attribute")],
        "references": ["array-like", str, HasMethods("detach")],
        "n_references": [Interval(Integral, 1, None, closed="left")],
        "segmenter": [str, HasMethods("segment")],
        "rrr_strength": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "align_fraction": [Interval(Real, 0, 1, closed="right")],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "align_epochs": [Interval(Integral, 0, None, closed="left")],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [str, callable],
        "schedule": [str, callable, None],
        "device": [str],
        "run_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module: nn.Module | Callable[[], nn.Module] | str | None = None,
        *,
        critic: Critic | str | None = None,
        specifications: Mapping[Any, str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        sampler: str | Callable[..., Any] = "low_entropy",
        n_align: int = 300,
        attribution: str | Attributor = "deeplift_shap",
        references: str | ArrayLike | Tensor = "class_balanced",
        n_references: int = 20,
        segmenter: str | Segmenter = "ppeps_wgm",
        rrr_strength: float | str = "auto",
        l2: float = 0.0,
        align_fraction: float = 0.5,
        epochs: int = 10,
        align_epochs: int = 10,
        n_rounds: int = 1,
        batch_size: int = 256,
        lr: float = 1e-3,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adam",
        schedule: str | Callable[..., Any] | None = None,
        device: str = "auto",
        run_dir: str | os.PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.module = module
        self.critic = critic
        self.specifications = specifications
        self.image_shape = image_shape
        self.sampler = sampler
        self.n_align = n_align
        self.attribution = attribution
        self.references = references
        self.n_references = n_references
        self.segmenter = segmenter
        self.rrr_strength = rrr_strength
        self.l2 = l2
        self.align_fraction = align_fraction
        self.epochs = epochs
        self.align_epochs = align_epochs
        self.n_rounds = n_rounds
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.schedule = schedule
        self.device = device
        self.run_dir = run_dir
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Images, y: ArrayLike | None = None, *, image_ids: Sequence[str] | None = None) -> Self:
        """Train, critique and align.

        Parameters
        ----------
        X : array-like of shape (n, C, H, W), (n, H, W) or (n, d), Tensor, or Dataset
            Training images; floats in [0, 1], or uint8, which is divided by 255. A map-style torch Dataset of
            (image, label) pairs is read into memory.
        y : array-like of shape (n,)
            Labels. May be None for a Dataset that holds them.
        image_ids : sequence of str, default=None
            Names of the images in critiques, verdicts and reports; None numbers them.

        Returns
        -------
        LVLMVAClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If images, labels, module, specifications, critic or run directory do not fit together; the message
            names the argument.
        """
        self._validate_params()
        critic = resolve_critic(self.critic)
        X, y = check_images(self, X, y, reset=True)
        self.classes_, labels = _encode_labels(y)
        self.image_shape_ = resolve_image_shape(X, self.image_shape)
        names = tuple(str(name) for name in self.classes_)
        specifications = _check_specifications(self.specifications, critic, names)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        module = build_module(
            self.module,
            self.image_shape_,
            len(names),
            seed=seed,
            default_dtype=torch.float64 if X.dtype == np.float64 else torch.float32,
        )
        images = as_image_tensor(X, self.image_shape_, module_device_and_dtype(module)[1])
        check_module(module, images[:2], len(names), differentiable=critic is not None or self.epochs > 0)
        data = TrainingData(images, torch.from_numpy(labels), names, _check_image_ids(image_ids, len(X)))
        options = None if critic is None else self._round_options(critic, specifications, data, seed)

        run = self._open_run(data)
        self.seconds_: dict[str, float] = {}
        self.history_: dict[str, tuple[History, ...]] = {"train": (), "align": ()}
        key = run.key("train", module, data.class_names, self._training_options(self.epochs), seed)
        with timed(self.seconds_, "train"):
            self.module_ = self._run_training("train", module, data, None, run, key, seed)
        self.n_iter_ = self.epochs
        if options is None:
            return self

        self.unaligned_module_ = self.module_
        self._data, self._seed, self._train_key = data, seed, key
        self._rounds: tuple[Round, ...] = ()
        self.verdicts_ = VerdictTable((), specifications, ())
        for _ in range(self.n_rounds):
            done = torch.cat([torch.empty(0, dtype=torch.int64), *(part.indices for part in self._rounds)])
            found = run_round(self.module_, data, options, run, key, self.seconds_, exclude=done)
            self._rounds = (*self._rounds, found)
            self.verdicts_ = self._read_verdicts(run, found)
            key = self._align(run, self.module_, key)
        self._publish_rounds()
        return self

    def realign(
        self, verdicts: VerdictTable | str | os.PathLike[str], X: Images | None = None, y: ArrayLike | None = None
    ) -> Self:
        """Align again from the unaligned module, with verdicts that somebody corrected.

        The critic is not asked.

        Parameters
        ----------
        verdicts : VerdictTable or path of its JSON file
            Verdicts to be followed; segments that it does not mention keep the verdict they have.
        X, y : default=None
            The training data again; needed only in an estimator that was unpickled.

        Returns
        -------
        LVLMVAClassifier
            Itself, with new ``module_``, ``verdicts_``, ``masks_``.

        Raises
        ------
        ValueError
            If the training data are missing or others than those fitted.
        """
        check_is_fitted(self, "verdicts_")
        table = verdicts if isinstance(verdicts, VerdictTable) else VerdictTable.load(verdicts)
        if X is not None:
            checked, y = check_images(self, X, y, reset=False)
            self._data = replace(
                self._data_outline,
                images=self._to_tensor(checked),
                labels=torch.from_numpy(np.searchsorted(self.classes_, y)),
            )
        data = getattr(self, "_data", None)
        if data is None:
            raise ValueError("The 'X' and 'y' arguments must be the training data: this estimator was unpickled without.")
        self.verdicts_ = self.verdicts_.replace(table.verdicts)
        self._align(self._open_run(data), self.unaligned_module_, self._train_key)
        self._publish_rounds()
        return self

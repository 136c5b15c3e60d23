"""The scikit-learn estimator in front: parameters, validation and the order of the stages, nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lvlm_va._parameters import CONSTRAINTS
from lvlm_va.alignment import History, TrainingOptions, train
from lvlm_va.attribution import Attributor
from lvlm_va.common.distributed import gather, join, require_same, share_module, world_size
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.timing import timed
from lvlm_va.critique import Critic, Judge
from lvlm_va.data.inputs import check_images, draw_seed, resolve_device, warn_of_unusual_images
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.modules.logits import on_cpu
from lvlm_va.propagation import Propagation
from lvlm_va.rounds.aligned_classifier import AlignedClassifier
from lvlm_va.rounds.options import RoundOptions, resolve_critic_and_judge, resolve_round_options
from lvlm_va.runs.directory import open_run
from lvlm_va.segmentation import Segmenter

_PRIVATE = ("_data", "_data_key", "_rounds", "_run", "_seed", "_train_key")  # what fit keeps for realign


class LVLMVAClassifier(AlignedClassifier):
    """An image classifier that is told in words what should count, and is mended accordingly.

    ``fit`` trains the module (or takes a trained one with ``epochs=0``), explains it on a small alignment set, cuts
    each explanation into segments, lets the critic judge every segment, and fine-tunes the module to ignore those
    judged spurious (LVLM-VA, arXiv 2512.21985; penalty of Ross et al. 2017, arXiv 1703.03717).

    Parameters
    ----------
    module : torch.nn.Module, callable, {"mlp", "cnn", "resnet8", "resnet18"} or None, default=None
        The classifier: a module (never changed; a copy is trained), a callable without arguments that returns
        one, a built-in net, or None for one hidden layer of 256 ReLUs in the dtype of X. Its output is a logits
        tensor of shape (n, n_classes) or an object with such a tensor as ``.logits``.
    critic : object with ``critique``, str or None, default=None
        Who judges the segments, for example `RegionCritic`, ``"hf:FOLDER"`` or ``"table:PATH"``; see
        `lvlm_va.critique.resolve_critic`. None only trains.
    judge : object with ``judge``, str or None, default=None
        Who turns a critique in words into verdicts; see `lvlm_va.critique.resolve_judge`.
    specifications : mapping of class to str, default=None
        What should count for each class, in words; handed to the critic.
    image_shape : tuple of (C, H, W) or (H, W), default=None
        How to read flat rows of X. None reads a row as one line of pixels.
    sampler : {"low_entropy", "high_entropy", "random", "class_balanced", "adaptive"} or callable, \
            default="low_entropy"
        Which training images are critiqued; see `lvlm_va.sampling.select_alignment_set`. "adaptive" asks about a few,
        learns the verdicts, and goes on with images like those judged spurious: more spurious ones for as many
        critiques, at the price of explaining up to five times as many images (or 2,000).
    n_align : int, default=300
        Number of images critiqued in each round; in all `n_rounds` no more than the training images.
    attribution : {"deeplift_shap", "integrated_gradients", "gradient_x_input"} or Attributor, \
            default="deeplift_shap"
        How predictions are attributed to pixels.
    references : {"class_balanced", "zeros", "mean", "blurred"} or array of shape (B, C, H, W), \
            default="class_balanced"
        What attributions are measured against; the first is a random draw from the training images.
    n_references : int, default=20
        Number of references drawn by ``"class_balanced"``.
    segmenter : {"ppeps_wgm", "grid", "slic"}, "sam:FOLDER" or Segmenter, default="ppeps_wgm"
        How attributions are cut into segments; see `lvlm_va.segmentation`.
    propagate : bool, int or Propagation, default=False
        Whether a classifier learns the verdicts from what the segments look like, and extends them to other training
        images, all of which are then aligned with; to how many in all. See `lvlm_va.propagation.Propagation`.
    rrr_strength : float or "auto", default="auto"
        Weight of the right-for-the-right-reasons penalty, for inputs in [0, 1]; "auto" lets it rise
        to 1 early on, or as far as a short run of batches allows; see `lvlm_va.alignment.RisingStrength`.
    l2 : float, default=0.0
        Weight of the squared norm of all parameters in the loss.
    align_fraction : float in (0, 1], default=0.5
        Share of critiqued images in each batch of the alignment, oversampled as needed.
    epochs : int, default=10
        Epochs of ordinary training; 0 takes the module as it is.
    align_epochs : int, default=10
        Epochs of alignment in each round.
    n_rounds : int, default=1
        Most rounds of critique and alignment. Each critiques `n_align` new images with the latest net, and aligns the
        unaligned one with all masks so far.
    round_tolerance : float in [0, 1], default=0.02
        Rounds stop, and the latest net is kept, when its critique finds no more than this mean share of the
        effect in segments judged spurious; with 0, none at all. The first alignment takes place in any case.
    early_stopping : bool, default=False
        Keep the last epoch of alignment that none beats by more than a standard error in
        `lvlm_va.metrics.right_reasons_accuracy` on critiqued images held out; for the curve see ``validation_score``
        in `history_`. With a falling learning rate that is mostly the very last.
    validation_fraction : float in (0, 1), default=0.2
        Share of the critiqued images that `early_stopping` holds out of alignment.
    batch_size : int, default=256
        Images per batch.
    lr : float, default=1e-3
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        Optimizer, or ``(parameters, lr) -> torch.optim.Optimizer``.
    schedule, align_schedule : {"cooldown", "cosine", "linear", "step"}, callable or None, \
            default=None and "cooldown"
        Learning-rate schedules of training and alignment; see `lvlm_va.alignment.TrainingOptions`.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains in bfloat16 where torch's autocast does; see `lvlm_va.alignment.TrainingOptions`.
    accumulation_steps : int, default=1
        Parts of a batch that are forwarded one after another, for batches that do not fit into memory.
    num_workers : int, default=0
        Processes that read images ahead of their use from a Dataset too large for memory; 0 reads them in between. The
        result is the same.
    device : str, default="auto"
        Where to compute: "auto" takes a CUDA GPU when there is one. Under torchrun or ``accelerate launch``, where
        all processes fit the same data together, each takes its own.
    run_dir : path-like or None, default=None
        Folder in which every stage keeps its result and finds it again; holds one run, so one set of training data
        (no folds), and needs an integer `random_state`.
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
    explanation_, segments_, critiques_ : Explanation, Segmentation, tuple of Critique
        Attributions of those images, their segments, and what the critic said.
    verdicts_ : VerdictTable
        The verdict on every segment.
    spurious_share_ : tuple of float
        For each round done, the mean share of its images' effect in segments that the critic judged spurious.
    masks_ : ndarray of shape (a, H, W), bool
        True where a segment was judged spurious.
    propagated_ : Propagated
        The images aligned with, and their masks (with `propagate` only).
    history_ : dict of str to tuple of History
        Curves of ``"train"`` and ``"align"``, one per run of the training loop.
    classes_, image_shape_ : ndarray of shape (n_classes,), tuple of (C, H, W)
        The classes, and the shape of one image.
    seconds_ : dict of str to float
        Wall-clock seconds of each stage.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS

    def __init__(
        self,
        module: nn.Module | Callable[[], nn.Module] | str | None = None,
        *,
        critic: Critic | str | None = None,
        judge: Judge | str | None = None,
        specifications: Mapping[Any, str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        sampler: str | Callable[..., Any] = "low_entropy",
        n_align: int = 300,
        attribution: str | Attributor = "deeplift_shap",
        references: str | ArrayLike | Tensor = "class_balanced",
        n_references: int = 20,
        segmenter: str | Segmenter = "ppeps_wgm",
        propagate: bool | int | Propagation = False,
        rrr_strength: float | str = "auto",
        l2: float = 0.0,
        align_fraction: float = 0.5,
        epochs: int = 10,
        align_epochs: int = 10,
        n_rounds: int = 1,
        round_tolerance: float = 0.02,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        batch_size: int = 256,
        lr: float = 1e-3,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adam",
        schedule: str | Callable[..., Any] | None = None,
        align_schedule: str | Callable[..., Any] | None = "cooldown",
        precision: str = "float32",
        accumulation_steps: int = 1,
        num_workers: int = 0,
        device: str = "auto",
        run_dir: str | os.PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.module = module
        self.critic = critic
        self.judge = judge
        self.specifications = specifications
        self.image_shape = image_shape
        self.sampler = sampler
        self.n_align = n_align
        self.attribution = attribution
        self.references = references
        self.n_references = n_references
        self.segmenter = segmenter
        self.propagate = propagate
        self.rrr_strength = rrr_strength
        self.l2 = l2
        self.align_fraction = align_fraction
        self.epochs = epochs
        self.align_epochs = align_epochs
        self.n_rounds = n_rounds
        self.round_tolerance = round_tolerance
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.schedule = schedule
        self.align_schedule = align_schedule
        self.precision = precision
        self.accumulation_steps = accumulation_steps
        self.num_workers = num_workers
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
            (image, label) pairs is read into memory if that takes no more than a GiB as float32. A larger one is read
            batch by batch, again and again: it must return the same image for an index each time.
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
        data, options, key = self._prepare(X, y, image_ids)
        if options is None:
            self._run.publish(seconds=self.seconds_)
            return self

        self._data, self._train_key, self.unaligned_module_ = data, key, self.module_
        self._run_rounds(data, options, key)
        return self

    def _prepare(
        self, X: Images, y: ArrayLike | None, image_ids: Sequence[str] | None
    ) -> tuple[TrainingData, RoundOptions | None, str]:
        """Check everything and train; return the data, how rounds are done and the key of what was trained."""
        self._validate_params()
        for name in [name for name in vars(self) if name.endswith("_") or name in _PRIVATE]:
            delattr(self, name)  # what an earlier fit left
        join(self.device)
        critic, judge = resolve_critic_and_judge(self.critic, self.judge, self.run_dir)
        seed = gather(draw_seed(self.random_state, kept=self.run_dir is not None))[0]
        pixels, y = check_images(self, X, y, reset=True)
        if critic is not None:
            warn_of_unusual_images(pixels)
        needs_gradients = critic is not None or self.epochs > 0
        module, data = self._read(pixels, y, image_ids, seed, differentiable=needs_gradients)
        del X, pixels
        if world_size() > 1:
            require_same("images and labels", fingerprint(data.labels, data.image_ids))
        module.to(resolve_device(self.device))
        share_module(module)
        options = resolve_round_options(vars(self), critic, judge, self.references_, data, seed)

        self._seed, self._run = seed, (run := open_run(self.run_dir, data))
        run.key(critic, judge)  # what cannot be told apart must fail before it is paid for
        self.seconds_: dict[str, float] = {}
        self.history_: dict[str, tuple[History, ...]] = {"train": (), "align": ()}
        key = self._train("train", module, data, run.key(module))
        return data, options, key

    def _train(self, stage: str, module: nn.Module, data: TrainingData, key: str, **aligning: Any) -> str:
        """Make ``module_`` of `module` by one run of the training loop; return the key that stands for it."""
        names = (
            "epochs",
            "batch_size",
            "lr",
            "optimizer",
            "schedule",
            "l2",
            "precision",
            "accumulation_steps",
        )
        options = TrainingOptions(**{name: getattr(self, name) for name in names})
        if aligning:
            options = replace(options, epochs=self.align_epochs, schedule=self.align_schedule)
            options = replace(options, rrr_strength=self.rrr_strength, align_fraction=self.align_fraction)
        key = self._run.key(stage, key, options, self._seed, *aligning.values())
        with timed(self.seconds_, stage):
            result = train(
                module,
                data.images,
                data.labels,
                options,
                seed=self._seed,
                checkpoint_path=self._run.file(stage, key, ".safetensors"),
                verbose=self.verbose,
                **aligning,
            )
        self.module_ = result.module
        self.history_[stage] = (*self.history_[stage], result.history)
        return key

    def __getstate__(self) -> dict[str, Any]:
        # The training images would make every pickle as large as they are; see `realign`.
        state = super().__getstate__()
        if "_rounds" in state:
            state["_rounds"] = tuple(replace(found, module=on_cpu(found.module)) for found in self._rounds)
        data = state.pop("_data", None)
        return state if data is None else {**state, "_data_key": data.key()}

"""The parameters of the estimator: their ranges, as scikit-learn checks them, and the job that they stand for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from lvlm_va.alignment import Epoch, TrainingOptions
from lvlm_va.alignment.options import PRECISIONS
from lvlm_va.attribution import Attributor, Explainer
from lvlm_va.common.device import resolve_device
from lvlm_va.common.distributed import gather, join, rank, require_same, share_module, world_size
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.critique import Critic, Judge, Specification
from lvlm_va.critique.description_advice import warn_of_vague_descriptions
from lvlm_va.critique.policy import policy_of
from lvlm_va.critique.resolve import resolve_critic_and_judge
from lvlm_va.critique.specifications import as_texts
from lvlm_va.data.findings import describe_outcomes
from lvlm_va.data.inputs import check_images, draw_seed, warn_of_unusual_images
from lvlm_va.data.training_data import Images, TrainingData
from lvlm_va.data.weights import group_codes, row_weights
from lvlm_va.image_classifier import ImageClassifier
from lvlm_va.modules.checks import check_is_eager
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.modules.preprocessing import Preprocess
from lvlm_va.modules.tasks import TASKS
from lvlm_va.propagation import Propagation, resolve_propagation
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.drawn_masks import Drawings, DrawnMasks, resolve_drawn_masks
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.runs.directory import open_run
from lvlm_va.sampling import ADAPTIVE, resolve_sampler
from lvlm_va.segmentation import Segmenter, resolve_segmenter

_COUNT = Interval(Integral, 1, None, closed="left")
_EPOCHS = Interval(Integral, 0, None, closed="left")


# scikit-learn reads parameters from the signature of __init__, which the decorator writes.
@dataclass(eq=False, repr=False)
class AlignmentParameters(ImageClassifier):
    """Parameters of `lvlm_va.LVLMVAClassifier`, which describes them."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [HasMethods("forward"), callable, str, None],
        "critic": [HasMethods("critique"), Mapping, str, None],
        "judge": [HasMethods("judge"), str, None],
        "specifications": [Mapping, None],
        "classes": ["array-like", None],
        "image_shape": [tuple, list, None],
        "preprocess": [Mapping, callable, None],
        "task": [StrOptions(set(TASKS))],
        "output": [str, Integral, None],
        "sampler": [str, callable],
        "n_align": [_COUNT],
        "ask": [StrOptions({"images", "families"})],
        "n_questions": [_COUNT],
        "attribution": [str, HasMethods("attribute")],
        "references": ["array-like", str, HasMethods("detach")],
        "n_references": [_COUNT],
        "segmenter": [str, HasMethods("segment")],
        "propagate": ["boolean", _COUNT, Propagation],
        "rrr_strength": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "align_fraction": [Interval(Real, 0, 1, closed="right")],
        "epochs": [_EPOCHS],
        "align_epochs": [_EPOCHS],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "if_worse": [StrOptions({"warn", "restore"})],
        "n_rounds": [_COUNT],
        "round_tolerance": [Interval(Real, 0, 1, closed="both")],
        "batch_size": [_COUNT],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [str, callable],
        "lr_factors": [Mapping, None],
        "class_weight": [Mapping, StrOptions({"balanced"}), None],
        "resample": ["boolean"],
        "augment": [callable, None],
        "schedule": [str, callable, None],
        "align_schedule": [str, callable, None],
        "precision": [StrOptions(set(PRECISIONS))],
        "accumulation_steps": [_COUNT],
        "num_workers": [Interval(Integral, 0, None, closed="left")],
        "on_epoch": [callable, None],
        "device": [str],
        "run_dir": [str, os.PathLike, None],
        "keep_images": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    module: nn.Module | Callable[[], nn.Module] | str | None = None
    _: KW_ONLY
    critic: Critic | Mapping[Any, Any] | str | None = None
    judge: Judge | str | None = None
    specifications: Mapping[Any, Specification] | None = None
    classes: Sequence[Any] | NDArray[Any] | None = None
    image_shape: tuple[int, ...] | None = None
    preprocess: Preprocess | None = None
    task: str = "auto"
    output: str | int | None = None
    sampler: str | Callable[..., Any] = "class_balanced"
    n_align: int = 300
    ask: str = "images"
    n_questions: int = 20
    attribution: str | Attributor = "deeplift_shap"
    references: str | ArrayLike | Tensor = "class_balanced"
    n_references: int = 20
    segmenter: str | Segmenter = "regions"
    propagate: bool | int | Propagation = False
    rrr_strength: float | str = "auto"
    l2: float = 0.0
    align_fraction: float = 0.5
    epochs: int = 10
    align_epochs: int = 10
    if_worse: str = "warn"
    n_rounds: int = 1
    round_tolerance: float = 0.02
    early_stopping: bool = False
    validation_fraction: float = 0.2
    batch_size: int = 256
    lr: float = 1e-3
    optimizer: str | Callable[..., torch.optim.Optimizer] = "adam"
    lr_factors: Mapping[str, float] | None = None
    class_weight: Mapping[Any, float] | str | None = None
    resample: bool = False
    augment: Callable[..., Any] | None = None
    schedule: str | Callable[..., Any] | None = None
    align_schedule: str | Callable[..., Any] | None = "cooldown"
    precision: str = "float32"
    accumulation_steps: int = 1
    num_workers: int = 0
    on_epoch: Callable[[Epoch], object] | None = None
    device: str = "auto"
    run_dir: str | os.PathLike[str] | None = None
    keep_images: bool = True
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    def _start(
        self,
        X: Images,
        y: ArrayLike | None,
        image_ids: Sequence[str] | None,
        sample_weight: ArrayLike | None = None,
        masks: Drawings | None = None,
        validation_data: tuple[Images, ArrayLike] | None = None,
        patients: ArrayLike | None = None,
    ) -> tuple[AlignmentJob, nn.Module, DrawnMasks | None]:
        """Check everything that can be checked before anything is trained or asked."""
        self._validate_params()
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)  # what an earlier fit left
        join(self.device)
        critic, judge = resolve_critic_and_judge(self.critic, self.judge, self.run_dir)
        seed = gather(draw_seed(self.random_state, kept=self.run_dir is not None))[0]
        pixels, y = check_images(self, X, y, reset=True)
        aligns = critic is not None or masks is not None
        if aligns:
            warn_of_unusual_images(pixels)
        needs_gradients = aligns or self.epochs > 0
        module, data = self._read(pixels, y, image_ids, seed, differentiable=needs_gradients)
        weights = row_weights(data.labels.numpy(), self.classes_, self.class_weight, sample_weight)
        data = replace(data, weights=weights, groups=group_codes(patients, len(data.labels)))
        if self.resample and data.multilabel:
            raise ValueError(
                "The 'resample' argument must be False where y holds several findings. Got True."
            )
        validation = None if validation_data is None else self._validation(validation_data, data)
        del X, pixels
        drawn = resolve_drawn_masks(masks, data)
        if world_size() > 1:
            require_same("images and labels", fingerprint(data.labels, data.image_ids))
            require_same("masks", fingerprint(drawn))
        module.to(resolve_device(self.device))
        share_module(module)
        self._check_class_order(module, data)
        options = self._options(self._explainer(), critic, judge).for_images(len(data.labels))
        options.check(data, drawn)
        if critic is not None and isinstance(self.attribution, str):
            check_is_eager(module)
        if aligns and self.align_epochs:  # before anything is paid for
            options.aligning.check_recipes(module)
        run = open_run(self.run_dir, data)
        if rank() == 0:
            warn_of_vague_descriptions(critic, data.class_names, options.specifications)
        run.key(critic, judge)  # what cannot be told apart must fail before it is paid for
        return AlignmentJob(data, options, run, seed, validation), module, drawn

    def _validation(self, given: tuple[Images, ArrayLike], data: TrainingData) -> TrainingData:
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TypeError(
                f"The 'validation_data' argument must be a pair (X, y). Got {type(given).__name__} instead."
            )
        images, y = check_images(self, given[0], given[1], reset=False)
        return self._training_data(images, y, None, data.images.dtype)

    def _options(
        self, explainer: Explainer, critic: Critic | None = None, judge: Judge | None = None
    ) -> AlignmentOptions:
        """Return what the parameters stand for; names are checked, critic and judge or not."""
        sampler = self.sampler if self.sampler == ADAPTIVE else resolve_sampler(self.sampler)
        training = TrainingOptions(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer=self.optimizer,
            lr_factors=self.lr_factors,
            augment=self.augment,
            schedule=self.schedule,
            l2=self.l2,
            precision=self.precision,
            accumulation_steps=self.accumulation_steps,
        )
        aligning = replace(
            training,
            epochs=self.align_epochs,
            schedule=self.align_schedule,
            rrr_strength=self.rrr_strength,
            align_fraction=self.align_fraction,
        )
        return AlignmentOptions(
            sampler=sampler,
            n_align=self.n_align,
            ask=self.ask,
            n_questions=self.n_questions,
            n_rounds=self.n_rounds,
            round_tolerance=self.round_tolerance,
            explainer=explainer,
            segmenter=resolve_segmenter(self.segmenter),
            critic=critic,
            judge=judge,
            policy=policy_of(judge, critic),
            specifications=describe_outcomes(as_texts(self.specifications), self._finding_names),
            propagation=resolve_propagation(self.propagate),
            training=training,
            aligning=aligning,
            held_out_fraction=self.validation_fraction if self.early_stopping else None,
            if_worse=self.if_worse,
            resample=self.resample,
            on_epoch=self.on_epoch,
            keep_images=self.keep_images,
            verbose=self.verbose,
        )

    def _require_critique(self) -> None:
        """Raise NotFittedError before ``fit``, and ValueError after one that only trained."""
        check_is_fitted(self, "module_")
        if not hasattr(self, "critiques_"):
            raise ValueError(
                "The 'critic' argument must name a critic before fit, for there to be something to tell. Got a "
                f"{type(self).__name__} that was fitted without one."
            )

    def _fitted_data(
        self, X: Images | None, y: ArrayLike | None, image_ids: Sequence[str] | None
    ) -> TrainingData:
        """Return the training data: those that `fit` left here, or the same ones passed again."""
        fitted: TrainingData = self.job_.data
        if X is None:
            return fitted.require_images()
        checked, y = check_images(self, X, y, reset=False)
        again = self._training_data(checked, y, image_ids, module_device_and_dtype(self.module_)[1])
        return replace(again.require_same(fitted), weights=fitted.weights, groups=fitted.groups)

"""How a module is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real

from torch import nn

from lvlm_va.alignment.augmentation import Augment, resolve_augment
from lvlm_va.alignment.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    OptimizerFactory,
    ScheduleFactory,
    check_lr_factors,
    make_optimizer,
    make_schedule,
    parameter_groups,
    trained_parameters,
)
from lvlm_va.alignment.strength import check_strength
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer, check_real

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class TrainingOptions:
    """How a module is trained; the defaults suit a small net and images in [0, 1].

    Attributes
    ----------
    epochs : int, default=10
        Passes over the training images; 0 returns a copy of the module as it is.
    batch_size : int, default=256
        Rows per batch, alignment rows included.
    lr : float, default=1e-3
        Learning rate.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adam"
        ``"sgd"`` has momentum 0.9, ``"adamw"`` its own decay of 0.01 besides `l2`. A callable gets
        ``(parameters, lr)`` and returns a ``torch.optim.Optimizer`` that steps without a closure.
    schedule : {"cooldown", "cosine", "warmup_cosine", "linear", "step"}, callable or None, default=None
        How the learning rate falls, stepped after each batch: to 0 over the last third of the batches, along a cosine,
        along one after a rise over the first twentieth of the batches, along a line, or to a tenth after each third of
        the batches. A callable gets ``(optimizer, total_steps)`` and returns a
        ``torch.optim.lr_scheduler.LRScheduler``. None keeps it constant.
    l2 : float, default=0.0
        Weight gamma of ``||theta||^2`` over the trained weights; biases and norms' scales and shifts do not decay,
        nor with "adamw". Its gradient ``2 gamma theta`` is added to
        the loss's own, so it is the loss's term for every optimizer (decoupled decay is not).
    rrr_strength : float or "auto", default="auto"
        Weight lambda of the penalty. "auto" lets it rise to 1, or as far as a short run of batches
        allows; see `lvlm_va.alignment.RisingStrength`.
    align_fraction : float in (0, 1], default=0.5
        Share of alignment rows in each batch. With 1 the plain images are left out, and an epoch is a pass
        over the alignment set.
    validation_fraction : float in [0, 1), default=0.0
        Share of the training images held out. In plain training the weights with the lowest
        validation loss are kept. In alignment the held-out images are measured but decide nothing: the
        shortcut pays on them as well, so they would call for the least aligned weights.
    patience : int, default=5
        Plain training stops after this many epochs without a lower validation loss.
    precision : {"float32", "bf16"}, default="float32"
        ``"bf16"`` forwards and differentiates in bfloat16 where torch's autocast does, with weights, losses and the
        penalty's sums in float32: faster on GPUs, right to two or three digits. ``"float32"`` computes in the module's
        own type, so a float64 module stays what it is.
    augment : Augmentation, transform, callable or None, default=None
        Changes the images of each batch at random, and their masks with them; see
        ``lvlm_va.alignment.augmentation.resolve_augment``.
    lr_factors : mapping of str to float, or None, default=None
        Factors of the learning rate by pattern of parameters' names, as in ``{"backbone.*": 0.1, "stem.*": 0}``: the
        first that matches counts, and 0 freezes, statistics of batch normalisation included.
    accumulation_steps : int, default=1
        Cuts each batch into so many parts that are forwarded one after another, for batches whose graph does not fit
        into memory. Their gradients add up to the batch's, but for dropout, and batch normalisation in plain
        training, which sees one part at a time.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong type or out of its range.
    """

    epochs: int = 10
    batch_size: int = 256
    lr: float = 1e-3
    optimizer: str | OptimizerFactory = "adam"
    schedule: str | ScheduleFactory | None = None
    l2: float = 0.0
    rrr_strength: float | str = "auto"
    align_fraction: float = 0.5
    validation_fraction: float = 0.0
    patience: int = 5
    precision: str = "float32"
    augment: Augment | None = None
    lr_factors: Mapping[str, float] | None = None
    accumulation_steps: int = 1

    def __post_init__(self) -> None:
        for name, smallest in (("epochs", 0), ("batch_size", 1), ("patience", 1), ("accumulation_steps", 1)):
            check_integer(name, getattr(self, name), smallest, expected=f"an integer >= {smallest}")
        check_real("lr", self.lr, "(0, inf)", expected="a positive number")
        check_real("l2", self.l2, "[0, inf)", expected="a number >= 0")
        check_real("align_fraction", self.align_fraction, "(0, 1]", expected="a number in (0, 1]")
        check_real("validation_fraction", self.validation_fraction, "[0, 1)", expected="a number in [0, 1)")
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        if self.schedule is not None:
            _check_choice("schedule", self.schedule, SCHEDULES)
        check_strength("rrr_strength", self.rrr_strength)
        resolve_augment(self.augment)
        check_lr_factors(self.lr_factors)
        for name, value in vars(self).items():  # NumPy's numbers cannot be kept with a checkpoint
            if isinstance(value, Real):
                object.__setattr__(self, name, int(value) if isinstance(value, Integral) else float(value))

    def check_recipes(self, module: nn.Module) -> None:
        """Raise TypeError or ValueError unless optimizer and schedule can be made for a module."""
        by_factor = trained_parameters(module, self.lr_factors)
        if by_factor:
            groups = parameter_groups(self.optimizer, by_factor, self.lr)
            make_schedule(self.schedule, make_optimizer(self.optimizer, groups, self.lr), 100)


def _check_choice(name: str, value: object, known: Mapping[str, Callable[..., object]]) -> None:
    if isinstance(value, str):
        if value not in known:
            raise unknown_name(name, value, known)
    elif not callable(value):
        raise TypeError(
            f"The {name!r} argument must be one of {sorted(known)} or a callable. "
            f"Got {type(value).__name__} instead."
        )

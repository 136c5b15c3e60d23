"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

OptimizerFactory = Callable[[list[Parameter], float], Optimizer]
ScheduleFactory = Callable[[Optimizer, int], LRScheduler]

OPTIMIZERS: dict[str, OptimizerFactory] = {
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, fused=_fusible(parameters)),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, fused=_fusible(parameters)),
    "sgd": lambda parameters, lr: torch.optim.SGD(
        parameters, lr=lr, momentum=0.9, fused=_fusible(parameters)
    ),
}

# Share of the batches over which "cooldown" brings the rate to 0.
COOLDOWN = 1 / 3

SCHEDULES: dict[str, ScheduleFactory] = {
    "cooldown": lambda optimizer, steps: lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (steps - step) / (COOLDOWN * steps))
    ),
    "cosine": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps),
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, math.ceil(steps / 3), 0.1),
}


def make_optimizer(spec: str | OptimizerFactory, parameters: list[Parameter], lr: float) -> Optimizer:
    """Return the named or the user's own optimizer.

    Raises
    ------
    TypeError
        If a callable returns no optimizer.
    ValueError
        If the optimizer needs a closure (LBFGS).
    """
    optimizer = OPTIMIZERS[spec](parameters, lr) if isinstance(spec, str) else spec(parameters, lr)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            "The 'optimizer' callable must return a torch.optim.Optimizer. "
            f"Got {type(optimizer).__name__} instead."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError(
            "The 'optimizer' argument must step without a closure. Got LBFGS instead, which evaluates the loss "
            "several times a step; take 'adam', 'adamw' or 'sgd'."
        )
    return optimizer


def make_schedule(
    spec: str | ScheduleFactory | None, optimizer: Optimizer, total_steps: int
) -> LRScheduler | None:
    """Return the named or the user's own schedule, or None.

    Raises
    ------
    TypeError
        If a callable returns no schedule that steps without a measure.
    """
    if spec is None:
        return None
    make = SCHEDULES[spec] if isinstance(spec, str) else spec
    measures: object = lr_scheduler.ReduceLROnPlateau
    schedule = None if make is measures else make(optimizer, total_steps)
    if not isinstance(schedule, LRScheduler) or isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        got = "ReduceLROnPlateau" if make is measures else type(schedule).__name__
        raise TypeError(
            "The 'schedule' callable must return a torch.optim.lr_scheduler.LRScheduler that is stepped after "
            f"each batch. Got {got} instead. 'cooldown' lets the rate fall without a measure."
        )
    return schedule


def _fusible(parameters: list[Parameter]) -> bool:
    """Whether one kernel can step all parameters: three to five times as fast as an operation after another."""
    return all(
        parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda") for parameter in parameters
    )

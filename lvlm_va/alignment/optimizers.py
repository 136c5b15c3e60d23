"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lvlm_va.common.validation import check_real
from lvlm_va.modules.preprocessed import own_module

# torch's optimizers take parameters, or groups of them with options of their own.
Parameters = list[Parameter] | list[dict[str, Any]]
OptimizerFactory = Callable[[Any, float], Optimizer]
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
# Share of the batches over which the rate of "warmup_cosine" rises.
WARMUP = 0.05

SCHEDULES: dict[str, ScheduleFactory] = {
    "cooldown": lambda optimizer, steps: lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (steps - step) / (COOLDOWN * steps))
    ),
    "warmup_cosine": lambda optimizer, steps: lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / max(1, WARMUP * steps)) * (1 + math.cos(math.pi * step / steps)) / 2
        ),
    ),
    "cosine": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps),
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, math.ceil(steps / 3), 0.1),
}


def check_lr_factors(factors: object) -> None:
    """Raise TypeError or ValueError unless `factors` is None or maps patterns of names to numbers >= 0."""
    if factors is None:
        return
    if not isinstance(factors, Mapping) or not all(isinstance(pattern, str) for pattern in factors):
        raise TypeError(
            "The 'lr_factors' argument must map patterns of parameters' names to numbers, as in {'backbone.*': 0.1}. "
            f"Got {factors!r} instead."
        )
    for factor in factors.values():
        check_real("lr_factors", factor, "[0, inf)", expected="numbers >= 0")


def trained_parameters(
    module: nn.Module, factors: Mapping[str, float] | None
) -> dict[float, list[Parameter]]:
    """Return the parameters that are trained, by their factor of the learning rate.

    Parameters
    ----------
    module : torch.nn.Module
        Whose parameters.
    factors : mapping of str to float, or None
        By pattern of their names, of which the first that matches counts; 1 without any. 0 leaves them out.

    Raises
    ------
    ValueError
        If a pattern matches no parameter, or nothing is left to train.
    """
    patterns = dict(factors or {})
    found: dict[float, list[Parameter]] = {}
    # As the user knows them: without what stands before and behind the module.
    known = {id(parameter): name for name, parameter in own_module(module).named_parameters()}
    names = list(known.values())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"The 'lr_factors' argument must name parameters of the module. Got {pattern!r}, which matches none of "
                f"{len(names)}, such as {names[:3]}."
            )
    for parameter in module.parameters():
        name = known.get(id(parameter), "")
        factor = next((f for pattern, f in patterns.items() if fnmatchcase(name, pattern)), 1.0)
        if parameter.requires_grad and factor:
            found.setdefault(float(factor), []).append(parameter)
    if patterns and not found:
        raise ValueError("The 'lr_factors' argument must leave parameters to train. Got 0 for all of them.")
    return found


def decays(parameter: Parameter) -> bool:
    """Whether a parameter is a weight, which decays; biases and the scales and shifts of norms do not."""
    return parameter.ndim > 1


def parameter_groups(
    spec: str | OptimizerFactory, by_factor: Mapping[float, list[Parameter]], lr: float
) -> Parameters:
    """Return what an optimizer is given: the parameters, or groups where their rates or decays differ."""
    if spec != "adamw" and set(by_factor) <= {1.0}:
        return [parameter for parameters in by_factor.values() for parameter in parameters]
    groups: list[dict[str, Any]] = []
    for factor, parameters in by_factor.items():
        kinds = (True, False) if spec == "adamw" else (None,)
        for kind in kinds:
            own = [parameter for parameter in parameters if kind is None or decays(parameter) == kind]
            if own:
                groups.append(
                    {"params": own, "lr": factor * lr, **({"weight_decay": 0.0} if kind is False else {})}
                )
    return groups


def make_optimizer(spec: str | OptimizerFactory, parameters: Parameters, lr: float) -> Optimizer:
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


def _fusible(parameters: Parameters) -> bool:
    """Whether one kernel can step all parameters: three to five times as fast as an operation after another."""
    flat = [
        part for group in parameters for part in (group["params"] if isinstance(group, dict) else [group])
    ]
    return all(
        parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda") for parameter in flat
    )

"""Elementwise calls that have a closed-form rescale rule, and their parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from lvlm_va.attribution.calls import Call
from lvlm_va.attribution.pairwise import Elementwise
from lvlm_va.attribution.tape import Tape

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def _plain(call: Call) -> tuple[str, tuple[Any, ...]]:
    return call.name, ()


def _clamp(call: Call) -> tuple[str, tuple[Any, ...]]:
    low = call.argument(1, "min", None) if call.name != "clamp_max" else None
    high = call.argument(1 if call.name == "clamp_max" else 2, "max", None)
    return "hardtanh", (-math.inf if low is None else low, math.inf if high is None else high)


def _celu(call: Call) -> tuple[str, tuple[Any, ...]]:
    alpha = call.argument(1, "alpha", 1.0)
    return "elu", (alpha, 1.0, 1 / alpha)


def _gelu(call: Call) -> tuple[str, tuple[Any, ...]]:
    return ("gelu_tanh" if call.kwargs.get("approximate", "none") == "tanh" else "gelu"), ()


# Name of the call -> activation and parameters of the `rescale_multipliers` op.
_ACTIVATIONS: dict[str, Callable[[Call], tuple[str, tuple[Any, ...]]]] = {
    **dict.fromkeys(("abs", "erf", "exp", "hardswish", "log", "mish", "reciprocal", "relu"), _plain),
    **dict.fromkeys(("rsqrt", "sigmoid", "silu", "sqrt", "tanh"), _plain),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamp),
    "celu": _celu,
    "elu": lambda call: ("elu", (call.argument(1, "alpha", 1.0), 1.0, 1.0)),
    "gelu": _gelu,
    "hardtanh": lambda call: (
        "hardtanh",
        (call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0)),
    ),
    "leaky_relu": lambda call: ("leaky_relu", (call.argument(1, "negative_slope", 0.01),)),
    "relu6": lambda call: ("hardtanh", (0.0, 6.0)),
    "selu": lambda call: ("elu", (_SELU_ALPHA, _SELU_SCALE, 1.0)),
    "softplus": lambda call: (
        "softplus",
        (call.argument(1, "beta", 1.0), call.argument(2, "threshold", 20.0)),
    ),
}


def elementwise(tape: Tape, call: Call) -> Any:
    """Run an elementwise call under its rescale rule; NotImplemented where it has none."""
    parse = _ACTIVATIONS.get(call.name)
    if parse is None or len(call.dependents) != 1:
        return NotImplemented
    activation, parameters = parse(call)
    if not all(isinstance(parameter, Real) for parameter in parameters):
        return NotImplemented
    return Elementwise.apply(
        call.dependents[0], tape, call.function, activation, tuple(map(float, parameters))
    )

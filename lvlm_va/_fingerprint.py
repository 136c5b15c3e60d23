"""Short, stable keys for the inputs and parameters of a stage."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
from collections.abc import Callable, Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn


def fingerprint(*parts: object) -> str:
    """Return 16 hexadecimal digits that stand for the content of `parts`.

    Equal content gives equal digits in every process. Arrays and tensors count by their values, dataclasses and
    plain objects by their fields, functions by name, code, defaults and closure, modules by their weights, what is
    frozen, and the plain attributes of their parts. An object with a ``fingerprint()`` method counts by what that
    returns.

    Raises
    ------
    TypeError
        If an object refers to itself.
    """
    text = json.dumps([_describe(part, ()) for part in parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(value: object, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return _describe_array(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _describe_array(value)
    if isinstance(value, bytes | PurePath | torch.dtype | torch.device):
        return [type(value).__name__, repr(value)]
    if isinstance(value, type):
        return _name(value)
    if id(value) in above:
        raise TypeError(
            f"A {type(value).__name__} that refers to itself cannot be a parameter of a run that is kept. "
            "Give its class a fingerprint() method that returns what its results depend on."
        )
    return _describe_composite(value, lambda item: _describe(item, (*above, id(value))))


def _describe_composite(value: Any, describe: Callable[[object], Any]) -> Any:
    if isinstance(value, np.ndarray):
        return [list(value.shape), [describe(item) for item in value.ravel().tolist()]]
    if isinstance(value, Mapping):
        # Pairs in a list, not a JSON object: keys may be numbers, and 1 is not "1".
        pairs = [[describe(key), describe(item)] for key, item in value.items()]
        return ["mapping", sorted(pairs, key=json.dumps)]
    if isinstance(value, Set):
        return ["set", sorted((describe(item) for item in value), key=json.dumps)]
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, nn.Module):
        return _describe_module(value, describe)
    if isinstance(value, types.FunctionType):
        closure = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = [describe(item) for item in (value.__defaults__, value.__kwdefaults__, closure)]
        return [_name(value), _describe_code(value.__code__), defaults]
    if isinstance(value, types.MethodType):
        return [describe(value.__func__), describe(value.__self__)]
    if isinstance(value, functools.partial):
        return ["partial", [describe(item) for item in (value.func, value.args, value.keywords)]]
    own = getattr(value, "fingerprint", None)
    if callable(own):
        return [_name(type(value)), own()]
    if dataclasses.is_dataclass(value):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return [_name(type(value)), fields]
    if hasattr(value, "__dict__"):
        return [_name(type(value)), {name: describe(item) for name, item in vars(value).items()}]
    return [_name(type(value)), repr(value)]


def _describe_array(array: np.ndarray) -> list[Any]:
    digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return [str(array.dtype), list(array.shape), digest]


def _describe_code(code: types.CodeType) -> list[Any]:
    constants = [_describe_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def _describe_module(module: nn.Module, describe: Callable[[object], Any]) -> list[Any]:
    plain = (bool, int, float, str, tuple, type(None), types.FunctionType, types.BuiltinFunctionType)
    parts = [
        [
            name,
            _name(type(part)),
            describe(type(part).forward),
            {k: describe(v) for k, v in sorted(vars(part).items()) if isinstance(v, plain)},
        ]
        for name, part in module.named_modules()
    ]
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    return [parts, frozen, describe(dict(module.named_buffers())), describe(module.state_dict())]


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"

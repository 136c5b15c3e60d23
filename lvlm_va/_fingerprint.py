"""Short, stable keys for the inputs and parameters of a stage."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn


def fingerprint(*parts: object) -> str:
    """Return 16 hexadecimal digits that stand for the content of `parts`.

    Equal content gives equal digits in every process. Arrays, tensors and modules count by their values,
    dataclasses and plain objects by their fields, functions by name, code, defaults and closure. An object
    with a ``fingerprint()`` method counts by what that returns.
    """
    text = json.dumps([_describe(part) for part in parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return _describe_array(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if isinstance(value, bytes | PurePath | torch.dtype | torch.device):
        return [type(value).__name__, repr(value)]
    if isinstance(value, Mapping):
        # Pairs in a list, not a JSON object: keys may be numbers, and 1 is not "1".
        pairs = [[_describe(key), _describe(item)] for key, item in value.items()]
        return ["mapping", sorted(pairs, key=json.dumps)]
    if isinstance(value, Set):
        return ["set", sorted((_describe(item) for item in value), key=json.dumps)]
    if isinstance(value, list | tuple):
        return [_describe(item) for item in value]
    if isinstance(value, nn.Module):
        return [repr(value), _describe(value.state_dict())]
    if isinstance(value, types.FunctionType):
        return _describe_function(value)
    if isinstance(value, functools.partial):
        return ["partial", [_describe(item) for item in (value.func, value.args, value.keywords)]]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return [_describe(type(value)), _describe_object(value)]


def _describe_array(array: np.ndarray) -> list[Any]:
    if array.dtype == object:
        return [list(array.shape), [_describe(item) for item in array.ravel().tolist()]]
    digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return [str(array.dtype), list(array.shape), digest]


def _describe_function(function: types.FunctionType) -> list[Any]:
    code = function.__code__
    constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    closure = [cell.cell_contents for cell in function.__closure__ or ()]
    return [
        f"{function.__module__}.{function.__qualname__}",
        hashlib.sha256(code.co_code).hexdigest(),
        [_describe(item) for item in (constants, function.__defaults__, function.__kwdefaults__, closure)],
    ]


def _describe_object(value: object) -> Any:
    own = getattr(value, "fingerprint", None)
    if callable(own):
        return own()
    if dataclasses.is_dataclass(value):
        return {f.name: _describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, types.MethodType):
        return [_describe(value.__func__), _describe(value.__self__)]
    if hasattr(value, "__dict__"):
        return {name: _describe(item) for name, item in vars(value).items()}
    return repr(value)

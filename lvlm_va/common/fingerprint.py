"""Short, stable keys for the inputs and parameters of a stage."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from lvlm_va.common.called import called_by

_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), np.ndarray, np.generic, torch.Tensor, torch.dtype, torch.device,
    types.FunctionType, types.BuiltinFunctionType,
)  # fmt: skip

# What a graph of TorchScript says besides what is computed: lines of source files, marks of names in the process.
_UNCERTAIN = re.compile(r" # .*|___torch_mangle_\d+\.?")


def fingerprint(*parts: object) -> str:
    """Return 16 hexadecimal digits that stand for the content of `parts`.

    Equal content gives equal digits in every process. Arrays and tensors count by their values, dataclasses and
    plain objects by their fields, functions by name, code, defaults and closure, modules by their weights, what is
    frozen, the code of their classes, and of their parts the plain attributes and what a ``fingerprint()`` method
    returns. With the code of a function or a module counts that of the functions which it names in turn, and the other
    globals, as far as they can be told apart; not that of installed packages. An object with a ``fingerprint()`` method
    counts by what that returns. The code of other classes does not count.

    Raises
    ------
    TypeError
        If an object refers to itself, or cannot be told from another of its kind.
    """
    text = json.dumps([_describe(part, ()) for part in parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe(value: object, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:  # which numpy does not know
            return [
                "bfloat16",
                list(value.shape),
                _describe_array(value.contiguous().view(torch.uint16).numpy()),
            ]
        return _describe_array(value.numpy())
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _describe_array(value)
    if isinstance(value, bytes | PurePath | torch.dtype | torch.device):
        return [type(value).__name__, repr(value)]
    if isinstance(value, type):
        return _name(value)
    if isinstance(value, types.BuiltinFunctionType):
        return ["builtin", _name(value)]
    if id(value) in above and isinstance(value, types.FunctionType):
        return ["recursive", _name(value)]
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
        closure = [_cell_contents(cell) for cell in value.__closure__ or ()]
        defaults = [describe(item) for item in (value.__defaults__, value.__kwdefaults__, closure)]
        return [_name(value), _describe_code(value.__code__), defaults, _describe_called([value], describe)]
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
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(
            f"A {type(value).__name__} cannot be a parameter of a run that is kept: nothing tells it from another one. "
            "Give its class a fingerprint() method that returns what its results depend on."
        )
    return [_name(type(value)), text]


def _describe_array(array: np.ndarray) -> list[Any]:
    digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return [str(array.dtype), list(array.shape), digest]


def _cell_contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty: a function that is still being defined
        return None


def _describe_code(code: types.CodeType) -> list[Any]:
    return [code.co_code.hex(), list(code.co_names), [_describe_constant(c) for c in code.co_consts]]


def _describe_constant(constant: object) -> Any:
    if isinstance(constant, types.CodeType):
        return _describe_code(constant)
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


def _describe_module(module: nn.Module, describe: Callable[[object], Any]) -> list[Any]:
    parts = [
        [
            name,
            _name(type(part)),
            {key: describe(item) for key, item in sorted(vars(part).items()) if _is_setting(key, item)},
            *([part.fingerprint()] if callable(getattr(type(part), "fingerprint", None)) else []),
            *([_UNCERTAIN.sub("", str(part.inlined_graph))] if _is_script(part) else []),
        ]
        for name, part in module.named_modules()
    ]
    kinds = sorted({type(part) for part in module.modules()}, key=_name)
    methods = {kind: _methods(kind) for kind in kinds}
    code = [
        [_name(kind), [[name, _describe_code(item.__code__)] for name, item in found]]
        for kind, found in methods.items()
    ]
    every = [item for found in methods.values() for _, item in found]
    called = _describe_called(every, describe, own=set(map(id, module.modules())))
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    return [
        parts,
        code,
        called,
        frozen,
        describe(dict(module.named_buffers())),
        describe(module.state_dict()),
    ]


def _is_script(part: nn.Module) -> bool:
    return isinstance(part, torch.jit.ScriptModule) and hasattr(part, "graph")  # a list of modules has none


def _describe_called(
    functions: Iterable[types.FunctionType], describe: Callable[[object], Any], own: Set[int] = frozenset()
) -> list[Any]:
    """Return what functions go by besides what they are given; `own` are ids of what is described already."""
    called, values = called_by(functions)
    known = {}
    for name, value in values.items():
        try:
            if id(value) not in own:
                known[name] = describe(value)
        except (TypeError, RecursionError):  # a logger, an open file: nothing tells them apart
            continue
    code = [
        [_name(item), _describe_code(item.__code__), [d for d in item.__defaults__ or () if _is_plain(d)]]
        for item in called
    ]
    return [[[name, steps, describe(defaults)] for name, steps, defaults in code], known]


def _methods(kind: type) -> list[tuple[str, types.FunctionType]]:
    """Return the methods of a module class by name; what decorators wrap around them does not count."""
    own = kind.__mro__[: kind.__mro__.index(nn.Module)]
    methods = [
        (name, inspect.unwrap(item))
        for base in own
        for name, item in sorted(vars(base).items())
        if isinstance(item, types.FunctionType)
    ]
    return [(name, item) for name, item in methods if isinstance(item, types.FunctionType)]


def _is_setting(name: str, value: object) -> bool:
    """Whether an attribute of a module says how it computes: not its parts, nor its mode."""
    return not name.startswith("_") and name != "training" and _is_plain(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in (*value.keys(), *value.values()))
    if isinstance(value, list | tuple | Set):
        return all(_is_plain(item) for item in value)
    if isinstance(value, functools.partial):
        return _is_plain((value.func, value.args, value.keywords))
    return isinstance(value, _PLAIN)


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"

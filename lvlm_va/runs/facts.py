"""What a run directory says of its run besides the results: parameters, names, versions."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from lvlm_va.runs.environment import environment

_SECRET = re.compile("key|token|secret|password", re.IGNORECASE)
_MOST_LETTERS = 300
_NOT_THE_RESULT = ("num_workers", "on_epoch", "run_dir", "verbose")
_VERSIONS = ("lvlm-va", "python", "torch", "gpu")


def parameter_facts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return an estimator's parameters as JSON values: for a person who wants to do the same again.

    Parameters
    ----------
    parameters : mapping of str to object
        What ``get_params(deep=False)`` returns.

    Returns
    -------
    dict of str to JSON values
        Numbers, texts and mappings as they are; everything else in words, arrays by their shape.
    """
    return {name: _plain(value) for name, value in parameters.items() if name not in _NOT_THE_RESULT}


def version_facts() -> dict[str, str]:
    """Return the versions and the hardware that results may hang on."""
    facts = environment()
    return {name: facts[name] for name in _VERSIONS}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | Tensor):
        return f"array of shape {tuple(value.shape)}"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    text = _words(value)
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + " ..."


def _words(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init and field.repr and not _SECRET.search(field.name)
        }
        changed = {
            field.name: shown[field.name]
            for field in dataclasses.fields(value)
            if field.name in shown and shown[field.name] != _default(field)
        }
        return f"{type(value).__name__}({', '.join(f'{name}={part!r}' for name, part in changed.items())})"
    named = getattr(value, "name", None) or getattr(value, "__qualname__", None)
    return named if isinstance(named, str) else type(value).__name__


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return _plain(field.default_factory())
    return ... if field.default is dataclasses.MISSING else _plain(field.default)

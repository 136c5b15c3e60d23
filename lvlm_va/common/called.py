"""Which functions and values of a user's files a function goes by, besides what it is given."""

from __future__ import annotations

import dis
import inspect
import sysconfig
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Where class and static methods, properties and cached properties hold their function.
_WRAPPED = ("__func__", "fget", "func")
# The version of this package stands for its own code, wherever it is installed.
_PACKAGE = __name__.partition(".")[0]
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def called_by(functions: Iterable[types.FunctionType]) -> tuple[list[types.FunctionType], dict[str, Any]]:
    """Return the global functions that some functions name, those that these name, and so on, and other global values.

    Classes count by their methods, and what is wrapped by a decorator counts itself. What installed packages define is
    left out: it may be a large part of them.

    Parameters
    ----------
    functions : iterable of function
        Where to begin; they are not among the results, and those of installed packages lead nowhere.

    Returns
    -------
    functions : list of function
        By name.
    values : dict of str to object
        All else that has a name in a module: constants and the like. By module and name.
    """
    left = [function for function in functions if not _is_installed(function)]
    seen = {id(function) for function in left}
    found: list[types.FunctionType] = []
    values: dict[str, Any] = {}
    while left:
        function = left.pop()
        for name, value in _named(function):
            reached = list(_functions_of(value))
            if not reached and not isinstance(value, type | types.ModuleType):
                values[name] = value
            new = [item for item in reached if id(item) not in seen and not _is_installed(item)]
            seen |= {id(item) for item in new}
            found += new
            left += new
    return sorted(found, key=lambda item: (item.__module__ or "", item.__qualname__)), values


def _named(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function's code names, in its module and in the user's modules that it names, and in its closure."""
    names: set[str] = set()
    attributes: set[str] = set()
    for code in _with_inner(function.__code__):
        attributes.update(code.co_names)
        names.update(step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        yield f"{function.__module__}.{name}", value
        if isinstance(value, types.ModuleType) and not _is_library(getattr(value, "__file__", None)):
            scope = vars(value)  # not getattr, by which some packages are loaded
            yield from (
                (f"{value.__name__}.{name}", scope[name]) for name in sorted(attributes & scope.keys())
            )
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            if isinstance(cell.cell_contents, types.FunctionType):
                yield name, cell.cell_contents
        except ValueError:  # empty: a function that is still being defined
            continue


def _with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_inner(constant)


def _functions_of(value: Any) -> Iterator[types.FunctionType]:
    if isinstance(value, type):
        for item in vars(value).values():
            inner = next((getattr(item, name) for name in _WRAPPED if hasattr(item, name)), item)
            yield from _functions_of(None if isinstance(inner, type) else inner)
        return
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, types.FunctionType):
        yield value


def _is_installed(function: types.FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == _PACKAGE or _is_library(
        function.__code__.co_filename
    )


def _is_library(file: str | None) -> bool:
    """Whether code is part of Python, of an installed package, or of no file at all, as what is built in."""
    if file is None or file.startswith("<frozen"):
        return True
    return file.startswith(_LIBRARIES) or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)

"""Validate the docstrings of all public names by numpydoc's checks: ``python tools/check_docstrings.py``.

Every class and function that a room offers, and every public method of such a class. All checks count but those that
ask for more sections than there may be to say: an extended summary (ES01), examples (EX01), what to see also (SA01).
The fields of a dataclass may stand under Attributes instead of Parameters, and a method that one line says all of
needs no sections.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

# Each offers what its __all__ names.
ROOMS = (
    *(
        "alignment",
        "attribution",
        "backends",
        "comparison",
        "critic_exam",
        "critique",
        "datasets",
        "interventions",
    ),
    *(
        "metrics",
        "model_selection",
        "ops",
        "propagation",
        "report",
        "review",
        "sampling",
        "segmentation",
        "testing",
    ),
)
LEFT_OUT = {"ES01", "EX01", "SA01"}
SECTIONS = {"PR01", "RT01", "YD01"}


def public_names() -> Iterator[tuple[str, Any, bool]]:
    """Yield every public function, class, and method of such a class: its full name, itself, whether it is a method."""
    for module in ("lvlm_va", *(f"lvlm_va.{room}" for room in ROOMS)):
        room = importlib.import_module(module)
        for name in room.__all__:
            found = getattr(room, name)
            if inspect.isroutine(found) or inspect.isclass(found):
                yield f"{module}.{name}", found, False
            for method, value in vars(found).items() if inspect.isclass(found) else ():
                kinds = property | classmethod | staticmethod
                if not method.startswith("_") and (callable(value) or isinstance(value, kinds)):
                    yield f"{module}.{name}.{method}", value, True


def faults(name: str, value: Any, *, method: bool) -> list[str]:
    """Return what is wrong with a docstring: the code of each check that it fails, and its words."""
    left_out = set(LEFT_OUT)
    if (method and "\n" not in (inspect.getdoc(value) or "")) or getattr(value, "_is_protocol", False):
        left_out |= SECTIONS
    fields = getattr(value, "_fields", None)  # of a named tuple
    if dataclasses.is_dataclass(value):
        inherited = {name for base in value.__mro__[1:] for name in getattr(base, "__dataclass_fields__", ())}
        fields = [
            field.name for field in dataclasses.fields(value) if field.init and field.name not in inherited
        ]
    if fields:
        told = {part.strip() for field in ClassDoc(value)["Attributes"] for part in field.name.split(",")}
        if told >= set(fields):
            left_out.add("PR01")
    return [f"{code} {said}" for code, said in validate(name)["errors"] if code not in left_out]


def main() -> int:
    """Print what is wrong; return how much that is."""
    warnings.simplefilter("ignore")
    n_names = n_faults = 0
    for name, value, method in public_names():
        n_names += 1
        for fault in faults(name, value, method=method):
            n_faults += 1
            sys.stdout.write(f"{name}: {fault}\n")
    sys.stdout.write(f"{n_names} public names, {n_faults} faults\n")
    return n_faults


if __name__ == "__main__":
    raise SystemExit(bool(main()))

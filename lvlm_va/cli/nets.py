"""The net that ``--module`` names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lvlm_va.common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def folder_of(module: str) -> Path | None:
    """Return the folder that a name of a trained net stands for; None for all else."""
    if not module.startswith(("hf:", "timm:")):
        return None  # without waiting for torch
    from lvlm_va.modules import named

    return named.folder_of(module)


def load_module(spec: str, weights: Path | None) -> nn.Module | Callable[[], nn.Module] | str:
    """Return what an estimator is given as its module, with these weights where there are any."""
    if ":" not in spec or spec.startswith(("hf:", "timm:")):
        if weights is not None:
            raise typer.BadParameter("weights need a 'package.module:callable'.", param_hint="--weights")
        return spec
    home, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: finds the user's own files
    try:
        factory: Callable[[], nn.Module] = getattr(importlib.import_module(home), name)
    except (ImportError, AttributeError) as error:
        message = printable(f"{spec!r} cannot be imported: {error}")
        raise typer.BadParameter(message, param_hint="--module") from error
    if weights is None:
        return factory  # called by the estimator, under its seed
    from lvlm_va.cli.weights import load_weights

    module = factory()
    try:
        load_weights(module, weights)
    except ValueError as error:
        raise typer.BadParameter(printable(str(error)), param_hint="--weights") from error
    return module

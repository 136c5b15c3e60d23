"""Warnings that show the line of the user's code that they are about."""

from __future__ import annotations

import sys
import warnings

from lvlm_va.common.printable import printable

# Packages whose functions come between a user's line and what it makes happen here.
_BETWEEN = ("joblib", "lvlm_va", "sklearn", "torch")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither this package's nor one of those it is called through."""
    level, frame = 1, sys._getframe()
    while frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message), category, stacklevel=level)

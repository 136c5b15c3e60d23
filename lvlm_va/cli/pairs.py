"""Options of the form NAME=TEXT."""

from __future__ import annotations

import typer


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Return what stands before and after the first '=' of each text."""
    found = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"expected NAME=TEXT, got {text!r}.", param_hint=option)
        found[name] = value
    return found

"""What Ctrl+C leaves, and how to go on."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from lvlm_va.cli.terminal import complain

# As shells have it for a program that an interrupt ended.
INTERRUPTED = 130


class StoppableCommands(TyperGroup):
    """Commands that say, when they are interrupted, what is kept."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            complain(" ".join(["\nlvlm-va: stopped.", *getattr(stopped, "__notes__", [])]))
            raise typer.Exit(INTERRUPTED) from stopped

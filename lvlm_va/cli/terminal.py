"""The one place where the command line prints."""

from __future__ import annotations

import typer

from lvlm_va.common.printable import printable


def tell(text: str) -> None:
    """Print a text, which may quote a server, a table or a file's name, so that the terminal shows it as it is."""
    typer.echo(printable(text))


def complain(text: str) -> None:
    """Print what went wrong, in red, in the same way."""
    typer.secho(printable(text), err=True, fg="red")

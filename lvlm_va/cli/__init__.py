"""The command line. Imports everything; nothing imports it."""

from lvlm_va.cli.app import main

__all__ = ["main"]

"""What the methods raise."""

from __future__ import annotations


class NotApplicableError(ValueError):
    """The data do not hold what the method lives on: an error, a counterexample, an image of each group."""

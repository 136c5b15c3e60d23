"""Checks of the segmenters' parameters."""

from __future__ import annotations

from numbers import Integral, Real


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise unless `value` is an integer >= `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"The {name!r} argument must be an integer. Got {value!r} instead.")
    if int(value) < least:
        raise ValueError(f"The {name!r} argument must be at least {least}. Got {value} instead.")


def check_number(name: str, value: object, least: float, below: float = float("inf")) -> None:
    """Raise unless `value` is a number in [least, below)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"The {name!r} argument must be a number. Got {value!r} instead.")
    if not least <= float(value) < below:
        raise ValueError(f"The {name!r} argument must lie in [{least}, {below}). Got {value} instead.")

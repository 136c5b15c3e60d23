"""Checks of numbers that a user passes, and what is said of those that do not fit."""

from __future__ import annotations

from numbers import Integral, Real


def is_integer(value: object, smallest: int | None = None) -> bool:
    """Whether a value is an integer (True and False are none), of at least `smallest`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return smallest is None or int(value) >= smallest


def check_integer(name: str, value: object, smallest: int | None = None, *, expected: str = "") -> None:
    """Raise unless an argument is an integer, of at least `smallest`.

    Parameters
    ----------
    name : str
        Of the argument.
    value : object
        What the user passed.
    smallest : int, default=None
        None for no limit.
    expected : str, default=""
        How the messages call what they expect; by default "an integer", and "at least" the limit.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is smaller.
    """
    if not is_integer(value):
        raise TypeError(f"The {name!r} argument must be {expected or 'an integer'}. Got {value!r} instead.")
    if not is_integer(value, smallest):
        raise ValueError(
            f"The {name!r} argument must be {expected or f'at least {smallest}'}. Got {value} instead."
        )


def check_real(name: str, value: object, interval: str, *, expected: str = "") -> None:
    """Raise unless an argument is a real number in an interval.

    Parameters
    ----------
    name : str
        Of the argument.
    value : object
        What the user passed.
    interval : str
        Such as ``"(0, 1]"``, 1 included and 0 not, or ``"[0, inf)"``.
    expected : str, default=""
        How the messages call what they expect; by default "a number", and the interval.

    Raises
    ------
    TypeError
        If it is no number (True and False are none).
    ValueError
        If it lies outside, or is NaN.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"The {name!r} argument must be {expected or 'a number'}. Got {value!r} instead.")
    low, high = (float(end) for end in interval[1:-1].split(","))
    number = float(value)
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        must = f"be {expected}" if expected else f"lie in {interval}"
        raise ValueError(f"The {name!r} argument must {must}. Got {value} instead.")

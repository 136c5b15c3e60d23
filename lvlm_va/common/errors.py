"""One way to say that a name is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(argument: str, value: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not among the known ones.

    Parameters
    ----------
    argument : str
        The argument that held the name.
    value : object
        What came.
    known : iterable of str
        What is expected.

    Returns
    -------
    ValueError
        To be raised by the caller; names the argument, the known names and the closest of them.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ValueError(f"The {argument!r} argument must be one of {names}. Got {value!r} instead.{hint}")

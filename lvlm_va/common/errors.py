"""Errors that are said in one way: a name that is unknown, numbers that are not finite."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


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


class NotFiniteError(FloatingPointError):
    """NaN or infinity where some images should have given numbers.

    Parameters
    ----------
    expected : str
        A sentence that says what must be finite.
    images : sequence of int
        Which images are not.
    hint : str, default=""
        A sentence that says more.
    """

    def __init__(self, expected: str, images: Sequence[int], hint: str = "") -> None:
        super().__init__(expected, images, hint)
        self.expected, self.images, self.hint = expected, list(images), hint

    def __str__(self) -> str:
        """Return the message; of many images, it names the first."""
        rest = len(self.images) - _NAMED
        named = f"{self.images[:_NAMED]}" + (f" and {rest} more" if rest > 0 else "")
        return f"{self.expected} Got NaN or infinity for images {named} instead. {self.hint}".rstrip()


# So many images are named in a message.
_NAMED = 20


@contextmanager
def numbered(rows: Sequence[int]) -> Iterator[None]:
    """Name images by these numbers, where an error names them by their positions among the ones worked on."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(error.expected, [int(rows[i]) for i in error.images], error.hint) from None

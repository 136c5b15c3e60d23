"""A key that shows itself to nobody but the server it is for."""

from __future__ import annotations

import os
import re

_SENDABLE = re.compile(r"[!-~]+")
# Servers echo keys in whole words; a shorter one, such as a placeholder, may be a word of the reply.
_SHORTEST_REDACTED = 8
_SHOWN = "[key]"


class Secret:
    """An API key, given or read from the environment when it is needed.

    It appears in no ``repr`` and is left out when pickled; the copy then has only what its own process's
    environment says. A copy by ``copy.deepcopy``, as by :func:`sklearn.base.clone`, is the same object.

    Parameters
    ----------
    value : str or None
        The key.
    variable : str or None
        Environment variable that holds the key where `value` is None; None for a server that needs no key.

    Raises
    ------
    TypeError, ValueError
        If the key is not a string, or holds something that no header can, or is needed and not there.
    """

    def __init__(self, value: str | None, variable: str | None) -> None:
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"The 'api_key' argument must be a string or None. Got {type(value).__name__} instead."
            )
        self._value, self._variable, self._dropped = value, variable, False
        key = self.reveal()
        if key is not None and not _SENDABLE.fullmatch(key):
            raise ValueError(
                "The 'api_key' argument must consist of printable ASCII characters without spaces. Got other "
                "characters (or none) instead. A line break at the end is often left by reading a file."
            )
        if key is None and variable is not None:
            raise ValueError(
                "The 'api_key' argument must be given, or the environment variable "
                f"{variable} must be set. Got neither."
            )

    def reveal(self) -> str | None:
        """Return the key, or None where there is none."""
        if self._value is None and self._variable is not None:
            return os.environ.get(self._variable) or None
        return self._value

    @property
    def lost(self) -> bool:
        """Whether a key was given once and left behind by pickling."""
        return self._dropped and self.reveal() is None

    def redact(self, text: str) -> str:
        """Return text without the key, whoever put it there."""
        key = self.reveal()
        return text if key is None or len(key) < _SHORTEST_REDACTED else text.replace(key, _SHOWN)

    def __repr__(self) -> str:
        return "Secret()"

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __getstate__(self) -> dict[str, object]:
        return {"_value": None, "_variable": self._variable, "_dropped": self._dropped or bool(self._value)}

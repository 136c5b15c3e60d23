"""Foreign text as a terminal may show it."""

from __future__ import annotations

import unicodedata

# Control characters, halves of pairs, separators of lines, and what has no width, such as turns of direction.
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Line breaks and tabs, and what some scripts join letters with.
_KEPT = "\n\t\u200c\u200d"


def printable(text: str) -> str:
    r"""Return a text in which every character that a terminal obeys, and does not show, is written as an escape.

    >>> printable("\x1b[2Jdone")
    '\\x1b[2Jdone'
    """
    return "".join(
        c.encode("unicode_escape").decode() if c not in _KEPT and unicodedata.category(c) in _ESCAPED else c
        for c in text
    )

"""What an expert says of the classes, in plain text or in two parts, as the one text that critics read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvlm_va.common.errors import unknown_name

# Each part, and how its sentence begins.
PARTS = {"counts": "What counts is", "does_not_count": "What does not count is"}
# Plain text, or {"counts": text, "does_not_count": text}.
Specification = str | Mapping[str, str]


def as_texts(specifications: Mapping[Any, Specification] | None) -> dict[str, str]:
    """Return the description of each class as one plain text.

    Parameters
    ----------
    specifications : mapping of class to str or mapping, or None
        Text is taken as it is; of ``{"counts": ..., "does_not_count": ...}``, of which one will do, each part becomes
        a sentence.

    Returns
    -------
    dict of str to str
        Class label to text.

    Raises
    ------
    TypeError, ValueError
        If a description is neither text nor such a mapping.

    Examples
    --------
    >>> as_texts({3: {"counts": "the digit", "does_not_count": "the patch in the corner"}})
    {'3': 'What counts is the digit. What does not count is the patch in the corner.'}
    """
    return {str(label): _as_text(str(label), said) for label, said in (specifications or {}).items()}


def _as_text(label: str, said: object) -> str:
    if isinstance(said, str):
        return said
    if not isinstance(said, Mapping):
        raise TypeError(
            "The 'specifications' argument must map each class to text, or to {'counts': text, 'does_not_count': text}."
            f" Got {said!r} for class {label!r} instead."
        )
    for key, part in said.items():
        if key not in PARTS:
            raise unknown_name("specifications", key, PARTS)
        if not isinstance(part, str):
            raise TypeError(
                f"The 'specifications' argument must hold text under {key!r}. Got {part!r} for class {label!r} instead."
            )
    parts = {key: said.get(key, "").strip() for key in PARTS}
    return " ".join(f"{PARTS[key]} {_ended(part)}" for key, part in parts.items() if part)


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "\u3002")) else f"{sentence}."

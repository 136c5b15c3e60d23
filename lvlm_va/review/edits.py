"""From what the page sends to what is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lvlm_va.review.reviewed import ReviewedRun

Action = Callable[[ReviewedRun, "Sent"], Any]

# Longer than any reason or description that a person writes.
_MOST_LETTERS = 20_000


class Sent:
    """A JSON object that the page sent, checked where it is read.

    Parameters
    ----------
    content : JSON value
        What was sent.

    Raises
    ------
    TypeError
        If it is no object; so do the methods where a value is missing or of another type.
    """

    def __init__(self, content: Any) -> None:
        if not isinstance(content, dict):
            raise TypeError(f"A JSON object must be sent. Got {type(content).__name__} instead.")
        self._content: Mapping[str, Any] = content

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def get(self, name: str) -> Any:
        """Return a value of any type."""
        return self._content.get(name)

    def number(self, name: str) -> int:
        """Return a whole number."""
        value = self._content.get(name)
        if type(value) is not int:
            raise TypeError(f"The {name!r} value must be a whole number. Got {value!r} instead.")
        return value

    def text(self, name: str, most: int = _MOST_LETTERS) -> str:
        """Return a text of bounded length."""
        value = self._content.get(name)
        if not isinstance(value, str):
            raise TypeError(f"The {name!r} value must be text. Got {type(value).__name__} instead.")
        if len(value) > most:
            raise ValueError(f"The {name!r} value must be of at most {most:,} letters. Got {len(value):,}.")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        value = self._content.get(name)
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise TypeError(f"The {name!r} value must be a list of texts.")
        return value


def _verdict(run: ReviewedRun, sent: Sent) -> None:
    enter, said = (run.tell, "content") if "content" in sent else (run.judge, "verdict")
    reason = sent.text("reason") if "reason" in sent else None
    enter(
        sent.text("image"), sent.number("segment"), sent.get(said), reason, revision=sent.number("revision")
    )


def _description(run: ReviewedRun, sent: Sent) -> None:
    run.describe(sent.text("label"), sent.text("text"), revision=sent.number("revision"))


def _promote(run: ReviewedRun, sent: Sent) -> None:
    run.promote(sent.text("image"), sent.number("segment"), revision=sent.number("revision"))


def _example(run: ReviewedRun, sent: Sent) -> None:
    example = None
    if sent.get("example") is not None:
        fields = Sent(sent.get("example"))
        example = {name: fields.text(name) for name in ("critique", "verdict", "note")}
    run.set_example(sent.number("number"), example, revision=sent.number("revision"))


def _import(run: ReviewedRun, sent: Sent) -> None:
    # Its length is bounded as that of every request.
    run.take_over(sent.text("table", most=2**31), revision=sent.number("revision"))


# Each is answered with the changes that it made.
EDITS: dict[str, Action] = {
    "verdict": _verdict,
    "description": _description,
    "promote": _promote,
    "example": _example,
    "import": _import,
    "undo": lambda run, sent: run.journal.undo(revision=sent.number("revision")),
    "redo": lambda run, sent: run.journal.redo(revision=sent.number("revision")),
}

# Each is answered with what it returns.
ACTIONS: dict[str, Action] = {
    "estimate": lambda run, sent: {"cost": run.cost(sent.texts("images"))},
    "ask": lambda run, sent: run.ask(sent.texts("images")),
    "realign": lambda run, sent: run.realign(),
    "cancel": lambda run, sent: run.cancel(),
}

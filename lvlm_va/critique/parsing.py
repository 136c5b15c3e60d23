"""From a model's words to verdicts: read strictly, invent nothing.

A verdict counts only where the text states it in full, as an entry of a JSON object
``{"segments": [{"id": 1, "verdict": "spurious"}]}`` or as a line ``Segment 1: spurious`` that holds nothing else.
Everything else, a negation, a question, a hedge, a cut-off line, is no verdict, and a segment with two different
ones is unsure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from lvlm_va.critique.types import VERDICTS, Verdict

# Changes with every change of what is read, so that kept verdicts are read anew.
PARSER_VERSION = 1
# No answer that was asked for is longer; nothing of one that is gets read, since a part may say the opposite.
MAX_LENGTH = 200_000
_MAX_LINE = 200
# Bullets, emphasis and numbering may stand before a verdict line; marks of quotation or negation may not.
_LINE = re.compile(
    r"[\s*_#•\-]*(?:[0-9]{1,3}[.)]\s+[*_]*)?segment\s*#?([0-9]{1,9})[\s*_]*[:=\u2013\u2014-][\s*_\"'`:-]*"
    r"(spurious|relevant|unsure)[\s*_\"'`.!]*",
    re.IGNORECASE,
)
_OPENING = re.compile(r'\{\s*"')
_REFUSAL = re.compile(
    r"\b(?:i'?m sorry|i am sorry|sorry|i can(?:'t|not)|i am unable|i'm unable|i am not able|i'm not able|unable to"
    r"|as an ai|i must decline|i won't)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ParsedVerdicts:
    """The verdicts that a text states.

    Attributes
    ----------
    verdicts : dict of int to {"spurious", "relevant", "unsure"}
        The verdict on each segment asked for; ``"unsure"`` where the text states none, or several.
    status : {"json", "line", "none"}
        Where they were found.
    missing : tuple of int
        Segments on which the text states no verdict.
    contradicted : tuple of int
        Segments on which it states different ones.
    """

    verdicts: dict[int, Verdict]
    status: Literal["json", "line", "none"]
    missing: tuple[int, ...]
    contradicted: tuple[int, ...]

    def status_of(self, segment: int) -> str:
        """Return how the verdict on one segment was read, or why not."""
        if segment in self.contradicted:
            return "contradiction"
        return "missing" if segment in self.missing and self.status != "none" else self.status


def parse_verdicts(text: str, segments: Sequence[int], *, cut_off: bool = False) -> ParsedVerdicts:
    r"""Return the verdicts that a text states on the given segments.

    Parameters
    ----------
    text : str
        A model's answer. Reasoning in ``<think>`` and lines that start with ``|``, as quoted data do in our prompts,
        are not read; nor is a text of more than 200,000 characters. Reasoning that is not all at the beginning can
        contradict a verdict: its tags may have been read from an image.
    segments : sequence of int
        Numbers of the segments asked about; verdicts on others are ignored.
    cut_off : bool, default=False
        Whether the answer ended at the token limit: then its last line may have been meant otherwise, and is not read.

    Returns
    -------
    ParsedVerdicts
        One verdict per segment. Takes time linear in the text's length, and never raises for a string.

    Examples
    --------
    >>> parse_verdicts("It is a tag.\nSegment 1: spurious\nSegment 2 is not relevant.", [1, 2]).verdicts
    {1: 'spurious', 2: 'unsure'}
    """
    known = {str(segment): segment for segment in segments}
    spoken, doubtful = _heard(text) if len(text) <= MAX_LENGTH else ("", "")
    found, status = _stated(spoken, known, cut_off)
    for segment, verdicts in _stated(doubtful, known, cut_off)[0].items():
        if segment in found:
            found[segment] |= verdicts
    return ParsedVerdicts(
        verdicts={
            segment: cast(Verdict, min(found[segment])) if len(found.get(segment, ())) == 1 else "unsure"
            for segment in segments
        },
        status=status,
        missing=tuple(segment for segment in segments if segment not in found),
        contradicted=tuple(segment for segment in segments if len(found.get(segment, ())) > 1),
    )


def parse_choice(text: str) -> Verdict | None:
    """Return the verdict that is the whole of an answer, or None.

    >>> parse_choice(" Spurious."), parse_choice("not spurious")
    ('spurious', None)
    """
    if len(text) > _MAX_LINE:
        return None
    word = text.strip(" \t\r\n*_\"'`.!").lower()
    return next((verdict for verdict in VERDICTS if word == verdict), None)


def is_refusal(text: str) -> bool:
    """Return whether a short text without verdicts says that the model will not answer."""
    return len(text) <= 1000 and _REFUSAL.search(text.replace("\u2019", "'")) is not None


def without_thoughts(text: str) -> str:
    """Return what an answer says outside ``<think>`` and ``</think>``."""
    return _heard(text)[0]


def _heard(text: str) -> tuple[str, str]:
    """Return what a text says outside its thoughts, and what may wrongly pass for thoughts; empty where nothing does.

    A ``<think>`` at the beginning opens thoughts up to the first ``</think>``. Any other tag, such as a closing one
    whose opening one the server has swallowed, cuts them out too; but an image can hold such a tag, for a model to read
    it aloud, so a verdict that was cut out by it must not contradict what is left.
    """
    rest = text
    if text.lstrip().startswith("<think>"):
        rest = text.partition("</think>")[2]
    first, *parts = rest.split("<think>")
    spoken = "".join([first, *(part.partition("</think>")[2] for part in parts)]).rpartition("</think>")[2]
    return spoken, "" if spoken == rest else rest.replace("<think>", "\n").replace("</think>", "\n")


def _stated(
    text: str, known: dict[str, int], cut_off: bool
) -> tuple[dict[int, set[str]], Literal["json", "line", "none"]]:
    """Return the verdicts that a text states on each known segment, and where."""
    lines = text.splitlines()
    if cut_off:
        lines = lines[:-1]
    lines = [line for line in lines if not line.lstrip().startswith("|")]
    rows = _json_rows("\n".join(lines))
    status: Literal["json", "line", "none"] = "json" if rows is not None else "none"
    stated = [(known.get(name), verdict) for name, verdict in rows or []]
    for line in lines:
        if len(line) <= _MAX_LINE and (match := _LINE.fullmatch(line)):
            stated.append((known.get(match[1]), match[2].lower()))
            status = "line" if status == "none" else status
    found: dict[int, set[str]] = {}
    for segment, verdict in stated:
        if segment is not None and verdict in VERDICTS:
            found.setdefault(segment, set()).add(verdict)
    return found, status


def _json_rows(text: str) -> list[tuple[str, str]] | None:
    """Return (id, verdict) of each entry of each complete JSON object with a list "segments"; None without one."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    rows: list[tuple[str, str]] | None = None
    position, effort = 0, 8 * len(text)  # openings that never close would take quadratic time
    while effort > 0 and (opening := _OPENING.search(text, position)):
        start = opening.start()
        try:
            value, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            effort -= error.pos - start + error.pos // 64  # it counts the lines before
            position = start + 1
            continue
        except (ValueError, RecursionError):  # a number of thousands of digits, a thousand levels
            break
        if isinstance(value, dict) and isinstance(value.get("segments"), list):
            entries = [entry for entry in value["segments"] if isinstance(entry, dict)]
            rows = (rows or []) + [_row(entry) for entry in entries]
    return rows


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object without the keys to which it gives different values."""
    found: dict[str, Any] = {}
    torn = set()
    for key, value in pairs:
        if key in found and found[key] != value:
            torn.add(key)
        found[key] = value
    return {key: value for key, value in found.items() if key not in torn}


def _row(entry: dict[str, Any]) -> tuple[str, str]:
    name, verdict = entry.get("id"), entry.get("verdict")
    number = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    return (
        number.strip() if isinstance(number, str) else "",
        verdict.strip().lower() if isinstance(verdict, str) else "",
    )

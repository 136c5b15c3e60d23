"""From a model's words to answers: read strictly, invent nothing.

An answer counts only where the text states it in full: as an entry of a JSON object
``{"segments": [{"id": 1, "verdict": "spurious"}]}``, as a line ``Segment 1: spurious`` that holds nothing else, or,
where the question is what a segment is about, as a line ``Segment 1 | covers: the tag | answer: artefact``. Everything
else, a negation, a question, a hedge, a cut-off line, is none, and a segment with two different ones is unsure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lvlm_va.backends.thoughts import heard
from lvlm_va.critique.types import CONTENTS, VERDICTS, Content, Verdict

# Changes with every change of what is read, so that kept verdicts are read anew.
PARSER_VERSION = 3
# No answer that was asked for is longer; nothing of one that is gets read, since a part may say the opposite.
MAX_LENGTH = 200_000
_MAX_LINE, _MAX_CONTENT_LINE = 200, 400
# Bullets, emphasis and numbering may stand before a verdict line; marks of quotation or negation may not.
_LINE = re.compile(
    r"[\s*_#•\-]*(?:[0-9]{1,3}[.)]\s+[*_]*)?segment\s*#?([0-9]{1,9})[\s*_]*[:=\u2013\u2014-][\s*_\"'`:-]*"
    r"(spurious|relevant|unsure)[\s*_\"'`.!]*",
    re.IGNORECASE,
)
# What a segment covers may stand between two bars; the word stands alone behind the last.
_CONTENT_LINE = re.compile(
    r"[\s*_#•\-]*(?:[0-9]{1,3}[.)]\s+[*_]*)?segment\s*#?([0-9]{1,9})[\s*_]*[|:=\u2013\u2014-](?:(.*)\|)?"
    r"[\s*_\"'`]*(?:(?:answer|verdict)[\s*_\"'`]*:)?[\s*_\"'`:-]*"
    r"(artefact|artifact|object|surroundings|mixed|unsure)[\s*_\"'`.!|]*",
    re.IGNORECASE,
)
_COVERS = re.compile(r"[\s*_]*covers[\s*_]*:", re.IGNORECASE)
_OPENING = re.compile(r'\{\s*"')
_BULLETS = re.compile(r"[\s*_#•+\"'`-]*(?:[0-9]{1,3}[.)])?")
# Signs of other scripts, as the ASCII that they stand for in a line; what has no width is left out.
_AS_ASCII: dict[int, int | str | None] = {
    code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0) not in "<>"
}
_AS_ASCII |= dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f"), '"')
_AS_ASCII |= {0x2018: "'", 0x2019: "'", 0x3002: "."}
_AS_ASCII |= dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
_REFUSAL = re.compile(
    r"\b(?:i'?m sorry|i am sorry|sorry|i can(?:'t|not)|i am unable|i'm unable|i am not able|i'm not able|unable to"
    r"|as an ai|i must decline|i won't)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Parsed:
    status: Literal["json", "line", "none"]
    missing: tuple[int, ...]
    contradicted: tuple[int, ...]

    def status_of(self, segment: int) -> str:
        """Return how the verdict on one segment was read, or why not."""
        if segment in self.contradicted:
            return "contradiction"
        return "missing" if segment in self.missing and self.status != "none" else self.status


@dataclass(frozen=True)
class ParsedVerdicts(_Parsed):
    """The verdicts that a text states.

    Attributes
    ----------
    status : {"json", "line", "none"}
        Where they were found.
    missing : tuple of int
        Segments on which the text states no verdict.
    contradicted : tuple of int
        Segments on which it states different ones.
    verdicts : dict of int to {"spurious", "relevant", "unsure"}
        The verdict on each segment asked for; ``"unsure"`` where the text states none, or several.
    """

    verdicts: dict[int, Verdict]


@dataclass(frozen=True)
class ParsedContents(_Parsed):
    """What segments are about, as a text states it; the other attributes are those of `ParsedVerdicts`.

    Attributes
    ----------
    status, missing, contradicted : str, tuple of int, tuple of int
        As of `ParsedVerdicts`.
    contents : dict of int to {"artefact", "object", "surroundings", "mixed", "unsure"}
        What each segment asked for is about; ``"unsure"`` where the text states nothing, or different things.
    covers : dict of int to str
        What the text says that each segment covers, where it does.
    """

    contents: dict[int, Content]
    covers: dict[int, str]


def parse_verdicts(text: str, segments: Sequence[int], *, cut_off: bool = False) -> ParsedVerdicts:
    r"""Return the verdicts that a text states on the given segments.

    Parameters
    ----------
    text : str
        A model's answer. Not read are thoughts, in ``<think>`` or the marks of other models, and quotations: lines
        that start with ``|``, as quoted data do in our prompts, or with ``>``; nor is a text of more than 200,000
        characters. Thoughts that are not all at the beginning can contradict a verdict: their marks may have been read
        from an image.
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
    found, status = _found(text, segments, cut_off, _VERDICT_FORM)
    return ParsedVerdicts(*_state(found, status, segments), verdicts=_agreed(found, segments))


def parse_contents(text: str, segments: Sequence[int], *, cut_off: bool = False) -> ParsedContents:
    r"""Return what a text states that the given segments are about.

    Parameters
    ----------
    text, segments, cut_off : str, sequence of int, bool
        As in `parse_verdicts`. Lines are like ``Segment 1 | covers: the tag | answer: artefact``; of a line with
        several bars the word behind the last one counts.

    Returns
    -------
    ParsedContents
        One entry per segment. Takes time linear in the text's length, and never raises for a string.

    Examples
    --------
    >>> parsed = parse_contents("Segment 1 | covers: a tag | answer: artefact\nSegment 2: no object", [1, 2])
    >>> parsed.contents, parsed.covers
    ({1: 'artefact', 2: 'unsure'}, {1: 'a tag'})
    """
    found, status = _found(text, segments, cut_off, _CONTENT_FORM)
    covers = {segment: said[0].covers for segment, said in found.items() if said[0].covers}
    return ParsedContents(*_state(found, status, segments), contents=_agreed(found, segments), covers=covers)


def contents_anywhere(text: str, segments: Sequence[int]) -> bool:
    """Return whether a text says, be it in what may only pass for thoughts, what one of these segments is about."""
    found = _anywhere(text, segments, _CONTENT_FORM)
    return any(said.word != "unsure" for several in found.values() for said in several)


def verdicts_anywhere(text: str, segments: Sequence[int]) -> dict[int, set[str]]:
    """Return the verdicts that a text states, be it in what may only pass for thoughts: segment to words."""
    return {
        segment: {said.word for said in several}
        for segment, several in _anywhere(text, segments, _VERDICT_FORM).items()
    }


def _anywhere(text: str, segments: Sequence[int], form: _Form) -> _Found:
    spoken, doubtful = heard(text) if len(text) <= MAX_LENGTH else ("", "")
    return _stated(doubtful or spoken, {str(segment): segment for segment in segments}, False, form)[0]


@dataclass(frozen=True)
class _Said:
    """One answer on one segment."""

    name: str
    word: str
    covers: str = ""


@dataclass(frozen=True)
class _Form:
    """A form of answers: its words, the key of its JSON entries, and its lines."""

    words: tuple[str, ...]
    keys: tuple[str, ...]
    longest: int
    read_line: Callable[[str], _Said | None]


def _read_verdict_line(line: str) -> _Said | None:
    match = _LINE.fullmatch(line)
    return match and _Said(match[1], match[2].lower())


def _read_content_line(line: str) -> _Said | None:
    match = _CONTENT_LINE.fullmatch(line)
    if match is None:
        return None
    covers = _COVERS.sub("", (match[2] or "").split("|")[0], count=1).strip(" *_")
    return _Said(match[1], match[3].lower().replace("artifact", "artefact"), covers)


_VERDICT_FORM = _Form(VERDICTS, ("verdict",), _MAX_LINE, _read_verdict_line)
_CONTENT_FORM = _Form(CONTENTS, ("answer", "verdict"), _MAX_CONTENT_LINE, _read_content_line)

_Found = dict[int, list[_Said]]
_Status = Literal["json", "line", "none"]


def _found(text: str, segments: Sequence[int], cut_off: bool, form: _Form) -> tuple[_Found, _Status]:
    known = {str(segment): segment for segment in segments}
    spoken, doubtful = heard(text) if len(text) <= MAX_LENGTH else ("", "")
    found, status = _stated(spoken, known, cut_off, form)
    for segment, said in _stated(doubtful, known, cut_off, form)[0].items():
        if segment in found:
            found[segment] += said
    return found, status


def _agreed(found: _Found, segments: Sequence[int]) -> dict[int, Any]:
    words = {segment: {said.word for said in found.get(segment, ())} for segment in segments}
    return {segment: min(said) if len(said) == 1 else "unsure" for segment, said in words.items()}


def _state(
    found: _Found, status: _Status, segments: Sequence[int]
) -> tuple[_Status, tuple[int, ...], tuple[int, ...]]:
    missing = tuple(segment for segment in segments if segment not in found)
    return status, missing, tuple(k for k in segments if len({said.word for said in found.get(k, ())}) > 1)


def parse_choice(text: str) -> Verdict | None:
    """Return the verdict that is the whole of an answer, or None.

    >>> parse_choice(" Spurious."), parse_choice("not spurious")
    ('spurious', None)
    """
    spoken, doubtful = heard(text) if len(text) <= _MAX_LINE else ("", "")
    word = "" if doubtful else spoken.translate(_AS_ASCII).strip(" \t\r\n*_\"'`.!").lower()
    return next((verdict for verdict in VERDICTS if word == verdict), None)


def is_refusal(text: str) -> bool:
    """Return whether a short text without verdicts says that the model will not answer."""
    return len(text) <= 1000 and _REFUSAL.search(text.replace("\u2019", "'")) is not None


def without_thoughts(text: str) -> str:
    """Return what an answer says outside its thoughts, whatever marks its model sets around them."""
    return heard(text)[0]


def _stated(text: str, known: dict[str, int], cut_off: bool, form: _Form) -> tuple[_Found, _Status]:
    """Return the answers that a text states on each known segment, and where."""
    lines = text.splitlines()
    if cut_off:
        lines = lines[:-1]
    lines = [line for line in lines if not _is_quotation(line.translate(_AS_ASCII))]
    rows = _json_rows("\n".join(lines), form.keys)
    status: _Status = "json" if rows is not None else "none"
    stated = list(rows or [])
    for line in lines:
        if len(line) <= form.longest and (said := form.read_line(line.translate(_AS_ASCII))):
            stated.append(said)
            status = "line" if status == "none" else status
    found: _Found = {}
    for said in stated:
        if said.name in known and said.word in form.words:
            found.setdefault(known[said.name], []).append(said)
    return found, status


def _is_quotation(line: str) -> bool:
    """Return whether a line begins with a bar or an angle, whatever bullets and numbers stand before it."""
    for _ in range(2):
        line = _BULLETS.sub("", line, count=1)
    return line.startswith(("|", ">"))


def _json_rows(text: str, keys: Sequence[str]) -> list[_Said] | None:
    """Return each entry of each complete JSON object with a list "segments"; None without one."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    rows: list[_Said] | None = None
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
            if (
                "|" in text[text.rfind("\n", 0, start) + 1 : start]
            ):  # a label, repeated with the bar before it
                continue
            entries = [entry for entry in value["segments"] if isinstance(entry, dict)]
            rows = (rows or []) + [_row(entry, keys) for entry in entries]
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


def _row(entry: dict[str, Any], keys: Sequence[str]) -> _Said:
    name, word, covers = (
        entry.get("id"),
        next((entry[key] for key in keys if key in entry), None),
        entry.get("covers"),
    )
    number = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    return _Said(
        number.strip() if isinstance(number, str) else "",
        word.strip().lower().replace("artifact", "artefact") if isinstance(word, str) else "",
        covers.strip() if isinstance(covers, str) else "",
    )

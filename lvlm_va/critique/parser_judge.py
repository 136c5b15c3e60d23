"""The judge for critiques that end in verdict lines: no model, only reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lvlm_va.critique.decision import Opinion, decide
from lvlm_va.critique.parsing import PARSER_VERSION, is_refusal, parse_verdicts
from lvlm_va.critique.types import Critique, SegmentVerdict, Statement


@dataclass(frozen=True)
class ParserJudge:
    r"""Read the verdicts that a critique states, as lines ``Segment 1: spurious`` or as JSON.

    A segment on which a critique states none, or contradicts itself, is unsure; its status says why. Several
    statements on a segment are votes; ``p_spurious`` is then the share that says spurious.

    Examples
    --------
    >>> critique = Critique("7", "It covers the tag.\nSegment 1: spurious")
    >>> [(v.verdict, v.status) for v in ParserJudge().judge([critique], [2])[0]]
    [('spurious', 'line'), ('unsure', 'missing')]
    """

    name = "parser"

    def fingerprint(self) -> dict[str, Any]:
        """Return what its verdicts depend on: how texts are read."""
        return {"parser": PARSER_VERSION}

    def judge(
        self, critiques: Sequence[Critique], n_segments: Sequence[int]
    ) -> list[tuple[SegmentVerdict, ...]]:
        """Read the verdicts of each critique.

        Parameters
        ----------
        critiques : sequence of Critique
            What the critic said.
        n_segments : sequence of int
            Number of segments of each image.

        Returns
        -------
        list of tuple of SegmentVerdict
            One verdict on each of the segments 1 to n.
        """
        return [
            _read(critique, count, self.name) for critique, count in zip(critiques, n_segments, strict=True)
        ]


def statements_of(critique: Critique, n_segments: int) -> tuple[Statement, ...]:
    """Return a critique's statements; the text as one about all segments where it has none."""
    return critique.statements or (Statement(tuple(range(1, n_segments + 1)), critique.text),)


def unread_status(statement: Statement, status: str) -> str:
    """Return why a statement holds no verdict: what went wrong with it, else what the parser says."""
    if statement.status != "ok":
        return statement.status
    return "refused" if status == "none" and is_refusal(statement.text) else status


def _read(critique: Critique, n_segments: int, name: str) -> tuple[SegmentVerdict, ...]:
    statements = statements_of(critique, n_segments)
    opinions = {segment: [] for segment in range(1, n_segments + 1)}  # type: dict[int, list[Opinion]]
    for statement in statements:
        legible = statement.status in ("ok", "truncated")
        parsed = parse_verdicts(
            statement.text if legible else "", statement.segments, cut_off=statement.status == "truncated"
        )
        for segment, verdict in parsed.verdicts.items():
            status = parsed.status_of(segment)
            if segment in parsed.missing:
                status = unread_status(statement, status)
            if segment in opinions:
                opinions[segment].append(Opinion({verdict: 1.0}, status, statement.text))
    return tuple(
        decide(critique.image_id, segment, found or [Opinion({"unsure": 1.0}, "missing")], source=name)
        for segment, found in opinions.items()
    )

"""The judge for critiques that state their answers in a fixed form: no model, only reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lvlm_va.critique.decision import Opinion, decide
from lvlm_va.critique.parsing import (
    PARSER_VERSION,
    ParsedContents,
    ParsedVerdicts,
    contents_anywhere,
    is_refusal,
    parse_contents,
    parse_verdicts,
    verdicts_anywhere,
)
from lvlm_va.critique.policy import VerdictPolicy
from lvlm_va.critique.types import Critique, SegmentVerdict, Statement


@dataclass(frozen=True)
class ParserJudge:
    r"""Read what a critique states: lines ``Segment 1 | covers: the tag | answer: artefact``, verdicts, JSON of both.

    From what a segment is about, the verdict follows by a policy; where that changes, nobody is asked again. A
    segment on which a critique states nothing, or contradicts itself, is unsure; its status says why. Several
    statements on a segment are votes; ``p_spurious`` is then the share that says spurious.

    Parameters
    ----------
    policy : VerdictPolicy, optional
        What follows from ``surroundings`` and ``mixed``.

    Examples
    --------
    >>> critique = Critique("7", "It covers the tag.\nSegment 1: spurious")
    >>> [(v.verdict, v.status) for v in ParserJudge().judge([critique], [2])[0]]
    [('spurious', 'line'), ('unsure', 'missing')]
    """

    policy: VerdictPolicy = field(default_factory=VerdictPolicy)

    name = "parser"

    def fingerprint(self) -> dict[str, Any]:
        """Return what its verdicts depend on: how texts are read, and what follows."""
        return {"parser": PARSER_VERSION, "policy": asdict(self.policy)}

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
        return [self._read(critique, count) for critique, count in zip(critiques, n_segments, strict=True)]

    def _read(self, critique: Critique, n_segments: int) -> tuple[SegmentVerdict, ...]:
        opinions: dict[int, list[Opinion]] = {segment: [] for segment in range(1, n_segments + 1)}
        for statement in statements_of(critique, n_segments):
            for segment, opinion in self._opinions(statement):
                if segment in opinions:
                    opinions[segment].append(opinion)
        return tuple(
            decide(
                critique.image_id, segment, found or [Opinion({"unsure": 1.0}, "missing")], source=self.name
            )
            for segment, found in opinions.items()
        )

    def _opinions(self, statement: Statement) -> Iterator[tuple[int, Opinion]]:
        legible, cut_off = statement.status in ("ok", "truncated"), statement.status == "truncated"
        text = statement.text if legible else ""
        if not contents_anywhere(text, statement.segments):
            verdicts = parse_verdicts(text, statement.segments, cut_off=cut_off)
            for segment, verdict in verdicts.verdicts.items():
                yield (
                    segment,
                    Opinion({verdict: 1.0}, self._status(statement, verdicts, segment), statement.text),
                )
            return
        contents = parse_contents(text, statement.segments, cut_off=cut_off)
        otherwise = verdicts_anywhere(text, statement.segments)
        for segment, content in contents.contents.items():
            verdict, status = self.policy.verdict(content), self._status(statement, contents, segment)
            if otherwise.get(segment, set()) - {verdict}:
                verdict, status, content = "unsure", "contradiction", "unsure"
            said = contents.covers.get(segment, statement.text)
            yield segment, Opinion({verdict: 1.0}, status, said, content)

    @staticmethod
    def _status(statement: Statement, parsed: ParsedVerdicts | ParsedContents, segment: int) -> str:
        status = parsed.status_of(segment)
        return unread_status(statement, status) if segment in parsed.missing else status


def statements_of(critique: Critique, n_segments: int) -> tuple[Statement, ...]:
    """Return a critique's statements; the text as one about all segments where it has none."""
    return critique.statements or (Statement(tuple(range(1, n_segments + 1)), critique.text),)


def unread_status(statement: Statement, status: str) -> str:
    """Return why a statement holds no verdict: what went wrong with it, else what the parser says."""
    if statement.status != "ok":
        return statement.status
    return "refused" if status == "none" and is_refusal(statement.text) else status

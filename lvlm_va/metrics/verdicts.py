"""How often a critic is right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lvlm_va.critique.types import SegmentVerdict, Verdict
from lvlm_va.metrics.intervals import wilson_interval


@dataclass(frozen=True)
class VerdictAccuracy:
    """How often verdicts are right, and how often they are given.

    Attributes
    ----------
    n_segments : int
        Number of segments whose truth is known.
    n_decided : int
        Number of those that were judged spurious or relevant.
    n_correct : int
        Number of those that were judged rightly.
    """

    n_segments: int
    n_decided: int
    n_correct: int

    @property
    def accuracy(self) -> float:
        """Share of right ones among the decided verdicts; NaN where none is decided."""
        return self.n_correct / self.n_decided if self.n_decided else float("nan")

    @property
    def coverage(self) -> float:
        """Share of the segments that were decided."""
        return self.n_decided / self.n_segments

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy; (0, 1) where nothing is decided."""
        return wilson_interval(self.n_correct, self.n_decided) if self.n_decided else (0.0, 1.0)


def verdict_accuracy(verdicts: Iterable[SegmentVerdict], truth: Iterable[SegmentVerdict]) -> VerdictAccuracy:
    """Compare verdicts with the truth, segment by segment.

    An ``unsure`` verdict is no error, as nothing is masked on its account, but it costs coverage; so does a
    segment without a verdict.

    Parameters
    ----------
    verdicts : iterable of SegmentVerdict
        What the critic said; at most one per segment.
    truth : iterable of SegmentVerdict
        What is right, for example the verdicts of a ground-truth critic: at least one, one per segment, none
        ``unsure``.

    Returns
    -------
    VerdictAccuracy
        Accuracy among the decided, and coverage.

    Raises
    ------
    ValueError
        If the truth is empty or ``unsure``, a segment occurs twice, or a verdict is on a segment whose truth
        is missing.

    Examples
    --------
    >>> truth = [SegmentVerdict("7", 1, "spurious"), SegmentVerdict("7", 2, "relevant")]
    >>> said = [SegmentVerdict("7", 1, "spurious"), SegmentVerdict("7", 2, "unsure")]
    >>> result = verdict_accuracy(said, truth)
    >>> result.accuracy, result.coverage
    (1.0, 0.5)
    """
    said, right = _by_segment("verdicts", verdicts), _by_segment("truth", truth)
    if not right:
        raise ValueError("The 'truth' argument must hold at least one verdict. Got none instead.")
    for key, verdict in right.items():
        if verdict == "unsure":
            raise ValueError(
                "The 'truth' argument must hold 'spurious' and 'relevant' only. "
                f"Got 'unsure' for {_name(key)} instead. Leave such segments out, in 'verdicts' too."
            )
    for key in said:
        if key not in right:
            raise ValueError(
                "The 'truth' argument must cover every segment in 'verdicts'. "
                f"Got none for {_name(key)} instead."
            )
    decided = {key: verdict for key, verdict in said.items() if verdict != "unsure"}
    correct = sum(verdict == right[key] for key, verdict in decided.items())
    return VerdictAccuracy(n_segments=len(right), n_decided=len(decided), n_correct=correct)


def _by_segment(argument: str, verdicts: Iterable[SegmentVerdict]) -> dict[tuple[str, int], Verdict]:
    found: dict[tuple[str, int], Verdict] = {}
    for verdict in verdicts:
        key = (verdict.image_id, verdict.segment)
        if key in found:
            raise ValueError(
                f"The {argument!r} argument must name each segment once. Got {_name(key)} twice instead."
            )
        found[key] = verdict.verdict
    return found


def _name(key: tuple[str, int]) -> str:
    return f"segment {key[1]} of image {key[0]!r}"

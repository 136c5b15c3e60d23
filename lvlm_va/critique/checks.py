"""Reject settings and critiques that break the contract between the estimator and a critic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lvlm_va.critique.types import Critique, CritiqueRequest, SegmentVerdict

# Of a reason, as much is shown in a warning.
_MOST_SHOWN = 200


def check_critiques(requests: Sequence[CritiqueRequest], critiques: object) -> None:
    """Check that a critic answered what it was asked.

    Parameters
    ----------
    requests : sequence of CritiqueRequest
        What the critic was given.
    critiques : list or tuple of Critique
        What it returned.

    Raises
    ------
    TypeError
        If `critiques` is not a list or tuple of :class:`Critique`, or its verdicts are not `SegmentVerdict`.
    ValueError
        If there is not one critique per request in the same order, or if a critique that holds verdicts
        does not hold one for each segment of its own image. A critique without any verdict is left to a
        judge.
    """
    if not isinstance(critiques, list | tuple):
        raise TypeError(
            f"The critic's 'critique' method must return a list of Critique. Got {type(critiques).__name__} "
            "instead."
        )
    if len(critiques) != len(requests):
        raise ValueError(
            f"The critic must return one critique per request. Got {len(critiques)} for {len(requests)} "
            "requests instead. A critic that cannot judge an image returns verdicts of 'unsure' for it."
        )
    for position, (request, critique) in enumerate(zip(requests, critiques, strict=True)):
        if not isinstance(critique, Critique):
            raise TypeError(
                f"The critic must return Critique objects. Got {type(critique).__name__} at position "
                f"{position} instead."
            )
        if critique.image_id != request.image_id:
            raise ValueError(
                "The critic must return the critiques in the order of the requests. Got image "
                f"{critique.image_id!r} at position {position}, where {request.image_id!r} was asked, "
                "instead."
            )
        if critique.verdicts:
            _check_verdicts("critic", request.image_id, request.n_segments, critique.verdicts)


def check_all_judged(critiques: Sequence[Critique], n_segments: Sequence[int]) -> None:
    """Raise ValueError unless each critique holds a verdict on every segment, as it must where no judge reads it."""
    for critique, count in zip(critiques, n_segments, strict=True):
        if len(critique.verdicts) != count:
            raise ValueError(
                f"The 'critic' argument must reach a verdict on every segment. Got {len(critique.verdicts)} on the "
                f"{count} segments of image {critique.image_id!r} instead. A critic that only speaks needs a judge: "
                "judge='parser' reads lines such as 'Segment 1: spurious'."
            )


def undecided(verdicts: Sequence[SegmentVerdict]) -> str:
    """Return why nothing will be masked, if all verdicts are ``unsure`` and no person's; else nothing."""
    if not verdicts or any(v.verdict != "unsure" or v.source == "human" for v in verdicts):
        return ""
    ((status, reason), count) = Counter((v.status, v.reason) for v in verdicts).most_common(1)[0]
    words = f", status {status!r}" * bool(status) + f": {reason[:_MOST_SHOWN]!r}" * bool(reason)
    return (
        f"All {len(verdicts)} verdicts of the critic are 'unsure', so nothing is masked, and nothing mended "
        f"({count} of them alike{words}). Likely causes: classes without 'specifications'; for critic='tiny', "
        "words in them that it was not taught; a prompt of your own without {verdict_lines}, and a 'judge' that is no "
        "language model; a threshold of the judge that is too high; a model that refuses, or does not answer; a table "
        "of verdicts on other images."
    )


def check_verdicts(asked: Sequence[tuple[Critique, int]], verdicts: object) -> list[Critique]:
    """Check that a judge answered what it was asked.

    Parameters
    ----------
    asked : sequence of (Critique, int)
        What the judge was given: critiques, and the number of segments of each image.
    verdicts : list or tuple of sequence of SegmentVerdict
        What it returned.

    Returns
    -------
    list of Critique
        The critiques with their verdicts.

    Raises
    ------
    TypeError, ValueError
        If there is not one sequence of verdicts per critique, or not one verdict per segment in it.
    """
    if not isinstance(verdicts, list | tuple) or len(verdicts) != len(asked):
        count = len(verdicts) if isinstance(verdicts, list | tuple) else type(verdicts).__name__
        raise ValueError(
            "The judge's 'judge' method must return a list of one tuple of verdicts per critique. Got "
            f"{count} for {len(asked)} critiques instead."
        )
    for (critique, n_segments), found in zip(asked, verdicts, strict=True):
        _check_verdicts("judge", critique.image_id, n_segments, found)
    return [replace(critique, verdicts=tuple(v)) for (critique, _), v in zip(asked, verdicts, strict=True)]


def _check_verdicts(who: str, image_id: str, n_segments: int, verdicts: Sequence[SegmentVerdict]) -> None:
    where = f"for image {image_id!r}"
    for verdict in verdicts:
        if not isinstance(verdict, SegmentVerdict):
            raise TypeError(
                f"The {who}'s verdicts must be SegmentVerdict objects. Got {type(verdict).__name__} {where} "
                "instead."
            )
        if verdict.image_id != image_id:
            raise ValueError(
                f"The {who}'s verdicts must be on the image of their critique. Got a verdict on image "
                f"{verdict.image_id!r} {where} instead."
            )
    judged = sorted(verdict.segment for verdict in verdicts)
    if judged != list(range(1, n_segments + 1)):
        raise ValueError(
            f"The {who} must reach one verdict on each of the segments 1 to {n_segments}. Got "
            f"verdicts on the segments {judged} {where} instead. A segment that it cannot judge is 'unsure'."
        )

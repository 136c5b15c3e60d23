"""From several opinions on a segment to one verdict, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lvlm_va.critique.types import VERDICTS, SegmentVerdict, Verdict

Ballot = Mapping[Verdict, float]


@dataclass(frozen=True)
class Opinion:
    """What one reading of one statement says of a segment.

    Attributes
    ----------
    ballot : mapping of verdict to float
        Share of the vote for each verdict, summing to 1; ``{"spurious": 1.0}`` for a plain one.
    status : str
        How it was read, as in `SegmentVerdict`.
    text : str
        The words it was read from.
    content : str
        What it says that the segment is about; empty where it does not.
    """

    ballot: Ballot
    status: str
    text: str = ""
    content: str = ""


def decide(
    image_id: str, segment: int, opinions: Sequence[Opinion], *, source: str, threshold: float | None = None
) -> SegmentVerdict:
    """Return the verdict that most opinions agree on.

    With the mean share w_v of each verdict v, ``p_spurious = w_spurious + w_unsure / 2``, and the confidence is
    ``max(p_spurious, 1 - p_spurious)``. The verdict is the v of the largest w_v; ``unsure`` on a tie, or where the
    confidence is below `threshold`. Where an opinion failed for want of an answer, the verdict is ``unsure`` and has
    failed, too: the next run may hear all of them.

    Parameters
    ----------
    image_id, segment
        What is judged.
    opinions : sequence of Opinion
        At least one.
    source : str
        Who judges.
    threshold : float or None, default=None
        Least confidence of a verdict.

    Returns
    -------
    SegmentVerdict
        ``p_spurious`` is None where a single plain opinion says nothing of probability.
    """
    failed = next((opinion for opinion in opinions if opinion.status == "failed"), None)
    if failed is not None:
        opinions = [failed]
    weights = {v: sum(opinion.ballot.get(v, 0.0) for opinion in opinions) / len(opinions) for v in VERDICTS}
    p_spurious = min(max(weights["spurious"] + weights["unsure"] / 2, 0.0), 1.0)
    most = max(weights.values())
    leaders = [v for v in VERDICTS if weights[v] >= most - 1e-9]
    verdict: Verdict = leaders[0] if len(leaders) == 1 else "unsure"
    if threshold is not None and max(p_spurious, 1 - p_spurious) < threshold:
        verdict = "unsure"
    chosen = next((opinion for opinion in opinions if opinion.ballot.get(verdict)), opinions[0])
    plain = len(opinions) == 1 and max(opinions[0].ballot.values()) == 1
    return SegmentVerdict(
        image_id,
        segment,
        verdict,
        p_spurious=None if plain else p_spurious,
        reason=chosen.text.strip(),
        source=source,
        status=chosen.status,
        content=chosen.content if chosen.ballot.get(verdict) else "",
    )

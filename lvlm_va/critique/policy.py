"""From what a segment is about to the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from lvlm_va.common.errors import unknown_name
from lvlm_va.critique.types import Content, SegmentVerdict, Verdict

Surroundings = Literal["keep", "mask"]
Mixed = Literal["unsure", "mask", "keep"]

_VERDICTS: dict[str, Verdict] = {"keep": "relevant", "mask": "spurious", "unsure": "unsure"}
# What follows by some policy or other.
_POSSIBLE: Mapping[str, tuple[Verdict, ...]] = {
    "artefact": ("spurious",),
    "object": ("relevant",),
    "surroundings": ("relevant", "spurious"),
    "mixed": ("relevant", "spurious", "unsure"),
    "unsure": ("unsure",),
}


@dataclass(frozen=True)
class VerdictPolicy:
    """What follows from what a segment is about: an artefact is spurious, the object relevant, and the rest as said.

    Parameters
    ----------
    surroundings : {"keep", "mask"}, default="keep"
        Whether plain surroundings may count. A classifier that goes by them may go by the absence of a thing.
    mixed : {"unsure", "mask", "keep"}, default="unsure"
        What becomes of segments that hold both a foreign thing and what should count. "unsure" masks nothing.

    Raises
    ------
    ValueError
        If a value is unknown.

    Examples
    --------
    >>> VerdictPolicy().verdict("artefact"), VerdictPolicy(surroundings="mask").verdict("surroundings")
    ('spurious', 'spurious')
    """

    surroundings: Surroundings = "keep"
    mixed: Mixed = "unsure"

    def __post_init__(self) -> None:
        for name, kind in (("surroundings", Surroundings), ("mixed", Mixed)):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name(name, getattr(self, name), get_args(kind))

    def verdict(self, content: Content) -> Verdict:
        """Return the verdict on a segment that is about this."""
        if content in ("artefact", "object"):
            return "spurious" if content == "artefact" else "relevant"
        if content == "unsure":
            return "unsure"
        return _VERDICTS[self.surroundings if content == "surroundings" else self.mixed]


def policy_of(*askers: object) -> VerdictPolicy:
    """Return the policy of the first of these critics and judges that has one, else the default."""
    found = (getattr(asker, "policy", None) for asker in askers)
    return next((policy for policy in found if isinstance(policy, VerdictPolicy)), VerdictPolicy())


def consistent(verdict: SegmentVerdict) -> SegmentVerdict:
    """Return a verdict without its content where it follows from that by no policy: the verdict is what counts."""
    if verdict.content and verdict.verdict not in _POSSIBLE[verdict.content]:
        return replace(verdict, content="")
    return verdict

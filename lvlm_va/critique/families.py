"""Families of segments: one verdict from several votes, and verdicts that a person gave by a family's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvlm_va.common.errors import unknown_name
from lvlm_va.critique.decision import Opinion, decide
from lvlm_va.critique.types import (
    VERDICTS,
    Critique,
    CritiqueRequest,
    FamilyRequest,
    SegmentVerdict,
    Verdict,
)

# Of the votes on a family's members, the share that must agree.
_MAJORITY = 2 / 3
_KEY = "families"


def members_of(requests: Sequence[CritiqueRequest]) -> list[CritiqueRequest]:
    """Return the requests, and in the place of each family its members."""
    return [
        part
        for request in requests
        for part in (request.members if isinstance(request, FamilyRequest) else (request,))
    ]


def pool_members(requests: Sequence[CritiqueRequest], critiques: Sequence[Critique]) -> list[Critique]:
    """Return one critique per request from those of `members_of`: a family's members vote."""
    said: Iterator[Critique] = iter(critiques)
    return [
        pooled(request.image_id, [next(said).verdicts[0] for _ in request.members])
        if isinstance(request, FamilyRequest)
        else next(said)
        for request in requests
    ]


def pooled(family: str, votes: Sequence[SegmentVerdict]) -> Critique:
    """Return the critique of a family by the verdicts on some of its members.

    Parameters
    ----------
    family : str
        Name of the family, as a `FamilyRequest` has it as its ``image_id``.
    votes : sequence of SegmentVerdict
        At least one.

    Returns
    -------
    Critique
        With one verdict: what two thirds or more say, ``unsure`` counting half for either side; else ``unsure``.
        ``p_spurious`` is the share of the votes.
    """
    opinions = [Opinion({vote.verdict: 1.0}, vote.status, vote.reason, vote.content) for vote in votes]
    verdict = decide(family, 1, opinions, source=votes[0].source, threshold=_MAJORITY)
    return Critique.from_verdicts(family, [verdict])


@dataclass(frozen=True)
class FamilyVerdicts:
    """The critic that knows what a person said of families, by their names.

    Parameters
    ----------
    verdicts : mapping of int or str to str
        ``{"families": FINGERPRINT, 1: "spurious", "3.1": "relevant", ...}``: verdicts by the families' names, and the
        fingerprint of the families that they are on, both as ``families_`` of an estimator has them. What is not named
        is relevant: who names what must not count says that the rest may. An empty mapping is for a first look.

    Raises
    ------
    ValueError
        If a verdict or a name is none, or there are verdicts but no fingerprint.
    """

    verdicts: Mapping[Any, Any]

    name = "families"
    judges_families = True

    def __post_init__(self) -> None:
        for family, verdict in self._named.items():
            if not all(part.isdecimal() for part in family.split(".")):
                raise ValueError(
                    "The 'critic' argument must name families as families_ does, such as 3 or '3.1'. Got "
                    f"{family!r} instead."
                )
            if verdict not in VERDICTS:
                raise unknown_name("critic", verdict, VERDICTS)
        if self._named and not isinstance(self.verdicts.get(_KEY), str):
            raise ValueError(
                "The 'critic' argument, a mapping of verdicts on families, must say which families it is on, as in "
                "{'families': clf.families_.fingerprint, 1: 'spurious'}: other data or settings make other families of "
                f"the same numbers. Got no {_KEY!r}. Fit with critic={{}} to see them."
            )

    @property
    def _named(self) -> dict[str, Verdict]:
        return {str(family): verdict for family, verdict in self.verdicts.items() if family != _KEY}

    def fingerprint(self) -> dict[str, str]:
        """Return all that its answers depend on."""
        return {str(family): str(said) for family, said in self.verdicts.items()}

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Return what was said of each family.

        Parameters
        ----------
        requests : sequence of FamilyRequest
            Families.

        Returns
        -------
        list of Critique
            One per family, in order.

        Raises
        ------
        ValueError
            If the verdicts are on other families, or a request is of no family.
        """
        return [self._judge(request) for request in requests]

    def _judge(self, request: CritiqueRequest) -> Critique:
        if not isinstance(request, FamilyRequest):
            raise ValueError(
                "The 'critic' argument must be someone who judges images here. Got a mapping of verdicts on families, "
                f"which says nothing of image {request.image_id!r} by itself."
            )
        named = self._named
        if named and self.verdicts[_KEY] != request.families:
            raise ValueError(
                f"The 'critic' argument must hold verdicts on the families that are found here, {request.families}. "
                f"Got verdicts on those of {self.verdicts[_KEY]}: of other images, another classifier, other settings "
                "or another random_state. Fit with critic={} and look at families_ to judge these."
            )
        said = named.get(request.name, "relevant")
        reason = "said by its name" if request.name in named else "not named"
        verdict = SegmentVerdict(request.image_id, 1, said, reason=reason, source=self.name)
        return Critique.from_verdicts(request.image_id, [verdict])

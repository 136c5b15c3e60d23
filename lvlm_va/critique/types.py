"""What flows between the critic, the judge and the expert: requests, critiques and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.effect import DIRECTIONS, Effect
from lvlm_va.common.validation import check_real

Verdict = Literal["spurious", "relevant", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# What a segment is about; the verdict follows by a `VerdictPolicy`.
Content = Literal["artefact", "object", "surroundings", "mixed", "unsure"]
CONTENTS: tuple[Content, ...] = get_args(Content)
# What a pixel with such an effect does for the class, in words.
SPEAKS: Mapping[Effect, str] = {kind: f"speaks {direction}" for kind, direction in DIRECTIONS.items()}
StatementStatus = Literal["ok", "truncated", "refused", "failed"]


def _check_verdict(verdict: str) -> None:
    if verdict not in VERDICTS:
        raise ValueError(f"The 'verdict' argument must be one of {VERDICTS}. Got {verdict!r} instead.")


@dataclass(frozen=True, eq=False)
class CritiqueRequest:
    """One image whose segments are to be judged.

    Attributes
    ----------
    index : int
        Row of the image in the data given to ``fit``.
    image_id : str
        Name of the image, stable between runs; the index as text where the data has no names.
    image : ndarray of shape (H, W, 3), uint8
        The image as a person would see it (sRGB, grey images repeated).
    segments : ndarray of shape (H, W), int64
        0 for background, else the number of the segment, from 1.
    effect : ndarray of shape (H, W), float64
        Share of the image's effect in each pixel; sums to 1 over the image.
    label : str
        The class of the image.
    description : str
        What the expert says should count for this class; empty where nothing was said.
    effect_kind : {"positive", "absolute"}
        Whether `effect` is what speaks for the class, or what speaks for or against it.
    target : int or None
        Number of the class; of several findings per image, 2k where finding k is absent and 2k + 1 where it is present.
        None where it is not known.
    """

    index: int
    image_id: str
    image: NDArray[np.uint8]
    segments: NDArray[np.int64]
    effect: NDArray[np.float64]
    label: str
    description: str = ""
    effect_kind: Effect = "positive"
    target: int | None = None

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return int(self.segments.max(initial=0))


@dataclass(frozen=True, eq=False)
class FamilyRequest(CritiqueRequest):
    """Segments of several images that are one kind of thing to the classifier, to be judged by one verdict.

    What a `CritiqueRequest` holds is that of the first member, but for ``image_id``, which names the family: a critique
    of it has one verdict, on segment 1. Only critics that say so are given families, see
    `lvlm_va.critique.optional_methods.JudgesFamilies`.

    Attributes
    ----------
    members : tuple of CritiqueRequest
        Some typical members, of different images, most of the class of the first; in each only the family's segment is
        left, as number 1.
    name : str
        The family's name, such as ``"3"``, or ``"3.1"`` of what became of a family that was split.
    families : str
        Stands for all families that were found: in other data, or with other settings, it is another.
    """

    members: tuple[CritiqueRequest, ...] = ()
    name: str = ""
    families: str = ""


@dataclass(frozen=True)
class SegmentVerdict:
    """The verdict on one segment of one image.

    Attributes
    ----------
    image_id : str
        Name of the image.
    segment : int
        Number of the segment, from 1.
    verdict : {"spurious", "relevant", "unsure"}
        An ``unsure`` segment is never masked.
    p_spurious : float or None
        Probability in [0, 1] that the segment is spurious, where the judge can say it.
    reason : str
        Why, in words.
    source : str
        Who said it: the critic's or judge's name, or ``"human"``.
    status : str
        How the verdict was read from a model's words: ``"json"``, ``"line"``, ``"choice"``, ``"repaired"`` (only when
        asked once more), or why it could not be: ``"missing"`` (said of other segments only), ``"none"`` (nothing
        readable), ``"contradiction"``, ``"refused"``, ``"truncated"``, ``"failed"`` (no answer, or not all of several).
        Empty for verdicts by rule or by a person.
    content : str
        What the segment is about, where somebody said so: ``"artefact"``, ``"object"``, ``"surroundings"``,
        ``"mixed"`` or ``"unsure"``; else empty.
    """

    image_id: str
    segment: int
    verdict: Verdict
    p_spurious: float | None = None
    reason: str = ""
    source: str = ""
    status: str = ""
    content: str = ""

    def __post_init__(self) -> None:
        _check_verdict(self.verdict)
        if self.content and self.content not in CONTENTS:
            raise ValueError(
                f"The 'content' argument must be one of {CONTENTS}, or empty. Got {self.content!r} instead."
            )
        if self.segment < 1:
            raise ValueError(f"The 'segment' argument counts from 1. Got {self.segment!r} instead.")
        # Plain numbers, whatever kind a critic computes with: they are written as JSON.
        object.__setattr__(self, "segment", int(self.segment))
        if self.p_spurious is not None:
            object.__setattr__(self, "p_spurious", float(self.p_spurious))
            check_real("p_spurious", self.p_spurious, "[0, 1]")


@dataclass(frozen=True)
class Statement:
    """One answer of a model that was asked about some of an image's segments.

    Attributes
    ----------
    segments : tuple of int
        The segments it was asked about.
    text : str
        What it said.
    status : {"ok", "truncated", "refused", "failed"}
        Whether it said all it had to say; why not.
    """

    segments: tuple[int, ...]
    text: str
    status: StatementStatus = "ok"


@dataclass(frozen=True)
class Critique:
    """What a critic said about one image.

    Attributes
    ----------
    image_id : str
        Name of the image.
    text : str
        The critique in words.
    verdicts : tuple of SegmentVerdict
        One verdict per segment where the critic reaches them itself; empty where a judge must read the text.
    statements : tuple of Statement
        The answers that the text is made of, where a model was asked about single segments or several times. A
        judge reads them instead of the text.
    """

    image_id: str
    text: str
    verdicts: tuple[SegmentVerdict, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether neither a statement nor a verdict failed for want of an answer."""
        statuses = [said.status for said in self.statements] + [verdict.status for verdict in self.verdicts]
        return "failed" not in statuses

    @classmethod
    def from_verdicts(cls, image_id: str, verdicts: Sequence[SegmentVerdict]) -> Critique:
        """Return the critique of a critic that reaches its verdicts by rule: their reasons are its text."""
        text = "\n".join(f"Segment {v.segment}: {v.verdict}. {v.reason}".rstrip() for v in verdicts)
        return cls(image_id, text, tuple(verdicts))


@dataclass(frozen=True)
class JudgeExample:
    """A critique and the verdict a person reached on it, shown to the judge as an example.

    Attributes
    ----------
    critique : str
        What a critic said about one segment.
    verdict : {"spurious", "relevant", "unsure"}
        The person's verdict.
    note : str
        Why, in the person's words; may be empty.
    """

    critique: str
    verdict: Verdict
    note: str = ""

    def __post_init__(self) -> None:
        _check_verdict(self.verdict)


class Critic(Protocol):
    """Anything that judges segments: an LVLM, a rule, a person.

    A critic may also have ``check_data(n_images, image_size, classes)``, which is called before training and
    raises ValueError when it cannot judge such data; and ``fingerprint()``, which returns all that its answers
    depend on (JSON values). Without it the critic's fields stand for that: where they change from one call to the
    next, or hold a client or a logger, it needs the method. One that asks a model may have more, see
    `lvlm_va.critique.optional_methods`: for its replies to be kept, for estimates, for batches.
    """

    @property
    def name(self) -> str:
        """Name by which its verdicts are signed."""
        ...

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Return one critique per request, in the same order."""
        ...


class Judge(Protocol):
    """Anything that reads a critique and says what its verdicts are. May have further methods, as a critic."""

    @property
    def name(self) -> str:
        """Name by which its verdicts are signed."""
        ...

    def judge(
        self, critiques: Sequence[Critique], n_segments: Sequence[int]
    ) -> list[tuple[SegmentVerdict, ...]]:
        """Return, for each critique in order, one verdict on each of the image's segments 1 to n."""
        ...

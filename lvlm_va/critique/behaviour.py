"""What a classifier relies on for each class: shares of the effect by what the critiqued segments cover."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lvlm_va.common.effect import Effect
from lvlm_va.common.html import html_table
from lvlm_va.critique.types import SPEAKS, VERDICTS, Verdict

TEMPLATE = "template"
_MOST_WORDS = 160
_MOST_COVERS = 3
_HEADS = {"spurious": "Judged spurious", "relevant": "Judged relevant", "unsure": "Unsure"}
_UNNAMED = "something that the critique does not name"
_PERCENTAGE = re.compile(r"(\d+(?:\.\d+)?)(?= ?%)")
_ENDS_SENTENCE = re.compile(r"[.;!?](?:\s|$)|\n")


@dataclass(frozen=True)
class SegmentFinding:
    """What was found out about one critiqued segment.

    Attributes
    ----------
    image_id, label : str
        The image, and its class.
    segment : int
        Number of the segment.
    share : float
        Share of the image's effect in it, in [0, 1].
    place : str
        Where it lies, in words.
    verdict : {"spurious", "relevant", "unsure"}
        The verdict on it.
    reason : str
        The critic's words.
    effect : {"positive", "absolute"}
        Which effect the share is of.
    """

    image_id: str
    label: str
    segment: int
    share: float
    place: str
    verdict: Verdict
    reason: str = ""
    effect: Effect = "positive"


@dataclass(frozen=True)
class Cover:
    """Something that segments of a class cover.

    Attributes
    ----------
    what : str
        What it is, in the critic's words; percentages that differ between the segments as a range.
    verdict : {"spurious", "relevant", "unsure"}
        The verdict on these segments.
    share : float
        Share of the effect in the class's images in them, in [0, 1].
    n_segments : int
        How many they are.
    place : str
        Where most of that effect lies, in words; empty where it is spread.
    """

    what: str
    verdict: Verdict
    share: float
    n_segments: int
    place: str = ""

    def __str__(self) -> str:
        where = f", mostly {self.place}" if self.place else ""
        return f"{self.what} ({100 * self.share:.0f} % of the effect{where})"


@dataclass(frozen=True)
class ClassBehaviour:
    """What a classifier relies on for one class.

    Attributes
    ----------
    label : str
        The class.
    n_images : int
        Critiqued images of the class.
    shares : mapping of verdict to float
        Share of their effect in segments of each verdict, the mean over the images.
    covers : tuple of Cover
        What the segments cover, the largest share first.
    text : str
        All this as a person would say it.
    author : str
        The language model that wrote `text`, or ``"template"``.
    """

    label: str
    n_images: int
    shares: Mapping[Verdict, float]
    covers: tuple[Cover, ...]
    text: str
    author: str = TEMPLATE


@dataclass(frozen=True)
class BehaviourSummary:
    """What a classifier relies on, class by class; reads as text.

    Attributes
    ----------
    classes : tuple of ClassBehaviour
        The classes of which an image was critiqued.
    """

    classes: tuple[ClassBehaviour, ...]

    def __getitem__(self, label: object) -> ClassBehaviour:
        """Return what was found for ``summary[label]``; KeyError where no image of the class was critiqued."""
        return {behaviour.label: behaviour for behaviour in self.classes}[str(label)]

    def __str__(self) -> str:
        return "\n\n".join(f"Class {behaviour.label}: {behaviour.text}" for behaviour in self.classes)

    def _repr_html_(self) -> str:
        return html_table(
            "What the classifier relies on, by share of its effect",
            ("class", "images", *VERDICTS, "in words"),
            [
                (
                    behaviour.label,
                    behaviour.n_images,
                    *(f"{behaviour.shares[verdict]:.0%}" for verdict in VERDICTS),
                    behaviour.text,
                )
                for behaviour in self.classes
            ],
        )


def summarize_behaviour(findings: Sequence[SegmentFinding]) -> BehaviourSummary:
    """Put together what was found about single segments, in words that no model wrote.

    Segments count as covering the same thing where the critic says the same words of them, percentages apart, and
    their verdict is the same.

    Parameters
    ----------
    findings : sequence of SegmentFinding
        One per critiqued segment.

    Returns
    -------
    BehaviourSummary
        In the order in which the classes first come.

    Examples
    --------
    >>> found = SegmentFinding("7", "ill", 1, 1.0, "top left", "spurious", "Segment 1 covers the tag.")
    >>> summary = summarize_behaviour([found])
    >>> str(summary["ill"].covers[0])
    'the tag (100 % of the effect, mostly top left)'
    """
    labels = dict.fromkeys(finding.label for finding in findings)
    return BehaviourSummary(tuple(_of_class(label, findings) for label in labels))


def what_it_covers(reason: str, segment: int) -> str:
    r"""Return what a segment covers, out of a critic's words: one short printable line, empty where they do not say.

    >>> what_it_covers("1. A hand.\n3. Segment 1 covers the wrist; segment 2 covers a metal tag at the border.", 2)
    'a metal tag at the border'
    """
    said = re.search(
        rf"\bsegment(?:\s*#?{segment}\b)?[^.;\n\d]{{0,40}}?\b(?:covers?|lies on|falls on|shows|contains)[ \t]+(\S.*)",
        reason[:20_000],
        re.IGNORECASE,
    )
    if said is not None:
        words = said[1]
    elif len(reason) <= 2 * _MOST_WORDS and "\n" not in reason.strip():
        words = reason
    else:
        return ""
    first = _ENDS_SENTENCE.split(words, maxsplit=1)[0]
    plain = " ".join("".join(c if c.isprintable() else " " for c in first).split())
    return plain if len(plain) <= _MOST_WORDS else plain[:_MOST_WORDS].rsplit(" ", 1)[0] + " ..."


def _of_class(label: str, findings: Sequence[SegmentFinding]) -> ClassBehaviour:
    own = [finding for finding in findings if finding.label == label]
    n_images = len({finding.image_id for finding in own})
    shares = {
        verdict: sum(finding.share for finding in own if finding.verdict == verdict) / n_images
        for verdict in VERDICTS
    }
    groups: dict[tuple[Verdict, str], list[SegmentFinding]] = {}
    for finding in own:
        words = what_it_covers(finding.reason, finding.segment) or _UNNAMED
        groups.setdefault((finding.verdict, _PERCENTAGE.sub("\0", words).casefold()), []).append(finding)
    covers = sorted(
        (_cover(verdict, group, n_images) for (verdict, _), group in groups.items()),
        key=lambda cover: -cover.share,
    )
    return ClassBehaviour(
        label, n_images, shares, tuple(covers), _text(n_images, shares, covers, own[0].effect)
    )


def _cover(verdict: Verdict, group: Sequence[SegmentFinding], n_images: int) -> Cover:
    total = sum(finding.share for finding in group)
    places: dict[str, float] = {}
    for finding in group:
        places[finding.place] = places.get(finding.place, 0.0) + finding.share
    place, most = max(places.items(), key=lambda item: item[1])
    by_weight = sorted(group, key=lambda finding: -finding.share)
    return Cover(
        _as_one([what_it_covers(finding.reason, finding.segment) or _UNNAMED for finding in by_weight]),
        verdict,
        total / n_images,
        len(group),
        place if most > total / 2 else "",
    )


def _as_one(texts: Sequence[str]) -> str:
    """Return texts that differ in percentages alone as one: the first, with the range of each percentage."""
    columns = zip(*(_PERCENTAGE.findall(text) for text in texts), strict=True)
    ranges = iter([sorted(set(column), key=float) for column in columns])

    def put(_: re.Match[str]) -> str:
        found = next(ranges)
        low, high = found[0], found[-1]
        return low if float(low) == float(high) else f"{low} to {high}"

    return _PERCENTAGE.sub(put, texts[0])


def _text(n_images: int, shares: Mapping[Verdict, float], covers: Sequence[Cover], effect: Effect) -> str:
    spurious, relevant, unsure = (100 * shares[v] for v in ("spurious", "relevant", "unsure"))
    outside = 100 - spurious - relevant - unsure
    rest = f"; {outside:.0f} % lies in no segment" if outside >= 0.5 else ""
    says = "So, by these verdicts,"
    counted = "1 image was" if n_images == 1 else f"{n_images} images were"
    if shares["spurious"] >= 0.5:
        verdict = f"{says} it relies mostly on what should not count."
    elif shares["unsure"] >= 0.5:
        verdict = "So most of it is yet to be judged."
    elif shares["spurious"] >= 0.1:
        verdict = f"{says} it relies in part on what should not count."
    elif shares["relevant"] >= 0.5:
        verdict = f"{says} it relies mostly on what should count."
    else:
        verdict = "So less than half of it was judged to count."
    parts = [
        f"{counted} critiqued. Of what {SPEAKS[effect]} the class in {'it' if n_images == 1 else 'them'}, "
        f"{spurious:.0f} % lies in segments that are spurious, {relevant:.0f} % in relevant ones, and on "
        f"{unsure:.0f} % there is no verdict{rest}. {verdict}"
    ]
    for kind in VERDICTS:
        listed = [str(cover) for cover in covers if cover.verdict == kind]
        if listed:
            more = f"; and {len(listed) - _MOST_COVERS} more" if len(listed) > _MOST_COVERS else ""
            parts.append(f"{_HEADS[kind]}: {'; '.join(listed[:_MOST_COVERS])}{more}.")
    return " ".join(parts)

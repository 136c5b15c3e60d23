"""What the page shows of each critiqued image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lvlm_va.critique import SegmentVerdict, Verdict, position_in_words
from lvlm_va.critique.behaviour import what_it_covers
from lvlm_va.report.run_record import RunRecord
from lvlm_va.report.thumbnails import TINY, effect_address, image_address, segments_address

# Sides of photographs and of the maps on them, in pixels; smaller where there are many.
_SIDE, _MAP_SIDE = 224, 112
_MANY = 300


@dataclass(frozen=True)
class Segment:
    """One segment of an image.

    Attributes
    ----------
    number : int
        Its number, from 1.
    share : float
        Share of the image's effect in it, in [0, 1].
    place, covers : str
        Where it lies and what it covers, in words; the latter may be empty.
    verdict : {"spurious", "relevant", "unsure"}
        The verdict on it.
    reason, source : str
        Why, and who said so.
    confidence : float or None
        Probability of the verdict, where it is known.
    row, column : float
        Where its number is put, in pixels of the image.
    """

    number: int
    share: float
    place: str
    covers: str
    verdict: Verdict
    reason: str
    source: str
    confidence: float | None
    row: float
    column: float


@dataclass(frozen=True)
class Answer:
    """What the classifier says of an image: a class, with what probability, and whether it is right."""

    label: str
    probability: float
    right: bool


@dataclass(frozen=True)
class Card:
    """One critiqued image.

    Attributes
    ----------
    number : int
        From 1, in the order in which the images were chosen.
    image_id, label : str
        The image and its class.
    height, width : int
        In pixels.
    tiny : bool
        Whether its pixels are to be seen as squares.
    image, effect_before, effect_after, segments_image : str
        Data addresses of the pictures.
    before, after : Answer
        What the classifier said and says.
    segments : tuple of Segment
        Its segments, the largest share first.
    critique : str
        All that the critic said.
    """

    number: int
    image_id: str
    label: str
    height: int
    width: int
    tiny: bool
    image: str
    effect_before: str
    effect_after: str
    segments_image: str
    before: Answer
    after: Answer
    segments: tuple[Segment, ...]
    critique: str

    def share(self, verdict: Verdict) -> float:
        """Return the share of the image's effect in segments of this verdict."""
        return sum(segment.share for segment in self.segments if segment.verdict == verdict)


def make_cards(record: RunRecord) -> Iterator[Card]:
    """Yield what is shown of each critiqued image, in order.

    Parameters
    ----------
    record : RunRecord
        The run.

    Yields
    ------
    Card
        One per image.
    """
    before, after = record.effects()
    labels = record.segmentation.labels.cpu().numpy()
    few = len(record) <= _MANY
    side, map_side = (_SIDE, _MAP_SIDE) if few else (_SIDE // 2, TINY)
    for row, image_id in enumerate(record.image_ids):
        image = record.images[row]
        segments = _spread(list(_segments(record, row)), *image.shape[1:])
        yield Card(
            number=row + 1,
            image_id=image_id,
            label=record.label(row),
            height=image.shape[1],
            width=image.shape[2],
            tiny=max(image.shape[1:]) <= TINY,
            image=image_address(image, side),
            effect_before=effect_address(before[row], map_side),
            effect_after=effect_address(after[row], map_side),
            segments_image=segments_address(labels[row], [segment.verdict for segment in segments], map_side),
            before=_answer(record, row, record.outcome.probabilities_before),
            after=_answer(record, row, record.outcome.probabilities_after),
            segments=segments,
            critique=record.critiques[row].text,
        )


def attention_on_masks(record: RunRecord) -> tuple[float, float, int]:
    """Return what share of the effect lies on masked pixels, before and after.

    Returns
    -------
    float, float
        Means over the images with such pixels; NaN where there are none.
    int
        How many these images are.
    """
    masked = record.masks.any((1, 2))
    shares = []
    for effect in record.effects():
        total = effect[masked].sum((1, 2))
        inside = (effect * record.masks)[masked].sum((1, 2))
        shares.append(float((inside[total > 0] / total[total > 0]).mean()) if (total > 0).any() else np.nan)
    return shares[0], shares[1], int(masked.sum())


def _segments(record: RunRecord, row: int) -> Iterator[Segment]:
    segmentation = record.segmentation
    height, width = segmentation.labels.shape[1:]
    image_id = record.image_ids[row]
    for number in range(1, int(segmentation.n_segments[row]) + 1):
        verdict = record.verdicts.get(image_id, number) or SegmentVerdict(image_id, number, "unsure")
        row_share, column_share = segmentation.means[row, number - 1].tolist()
        yield Segment(
            number=number,
            share=float(segmentation.shares[row, number - 1]),
            place=position_in_words(row_share, column_share),
            covers=what_it_covers(verdict.reason, number),
            verdict=verdict.verdict,
            reason=verdict.reason,
            source=verdict.source,
            confidence=_confidence(verdict),
            row=row_share * height,
            column=column_share * width,
        )


def _spread(segments: Sequence[Segment], height: int, width: int) -> tuple[Segment, ...]:
    """Move numbers that would lie on each other, or on the border, apart."""
    gap_down, gap_across = 0.13 * height, 0.17 * width
    placed: list[Segment] = []
    for segment in segments:
        row, column = (
            min(max(at, 0.09 * side), 0.91 * side)
            for at, side in ((segment.row, height), (segment.column, width))
        )
        for _ in segments:
            if not any(
                abs(row - other.row) < gap_down and abs(column - other.column) < gap_across
                for other in placed
            ):
                break
            row = row + gap_down if row + gap_down < 0.95 * height else row - 0.7 * height
        placed.append(replace(segment, row=row, column=column))
    return tuple(placed)


def _confidence(verdict: SegmentVerdict) -> float | None:
    if verdict.p_spurious is None or verdict.verdict == "unsure" or verdict.source == "human":
        return None
    return verdict.p_spurious if verdict.verdict == "spurious" else 1 - verdict.p_spurious


def _answer(record: RunRecord, row: int, probabilities: torch.Tensor) -> Answer:
    best = int(probabilities[row].argmax())
    return Answer(record.class_names[best], float(probabilities[row, best]), best == int(record.labels[row]))

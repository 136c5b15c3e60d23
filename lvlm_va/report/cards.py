"""What the page shows of each critiqued image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lvlm_va.critique import SegmentVerdict, TileSheet, Verdict, position_in_words
from lvlm_va.critique.behaviour import what_it_covers
from lvlm_va.critique.tile_sheet import CRISP
from lvlm_va.report.colours import CONTENT_WORDS
from lvlm_va.report.run_record import RunRecord
from lvlm_va.report.thumbnails import TINY, effect_address, image_address, tile_address

# Sides of photographs, of the maps on them and of tiles, in pixels; smaller where there are many.
_SIDE, _MAP_SIDE, _TILE = 224, 112, 192
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
    tiles : tuple of (str, str)
        What the critic was shown of it: heading and data address of each tile.
    place, shows, covers : str
        Where it lies, what kind of thing it shows and what it covers, in words; the latter two may be empty.
    verdict : {"spurious", "relevant", "unsure"}
        The verdict on it.
    reason, source : str
        Why, and who said so.
    confidence : float or None
        Probability of the verdict, where it is known.
    """

    number: int
    share: float
    tiles: tuple[tuple[str, str], ...]
    place: str
    shows: str
    covers: str
    verdict: Verdict
    reason: str
    source: str
    confidence: float | None


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
    image, effect_before, effect_after : str
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
    few = len(record) <= _MANY
    side, map_side = (_SIDE, _MAP_SIDE) if few else (_SIDE // 2, TINY)
    sheet = TileSheet(tile=_TILE if few else _TILE // 2)
    for row, image_id in enumerate(record.image_ids):
        image = record.images[row]
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
            before=_answer(record, row, record.outcome.probabilities_before),
            after=_answer(record, row, record.outcome.probabilities_after),
            segments=tuple(_segments(record, row, sheet)),
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


def _segments(record: RunRecord, row: int, sheet: TileSheet) -> Iterator[Segment]:
    segmentation = record.segmentation
    image_id, request = record.image_ids[row], record.request(row)
    crisp = max(request.image.shape) <= CRISP
    for number in range(1, int(segmentation.n_segments[row]) + 1):
        verdict = record.verdicts.get(image_id, number) or SegmentVerdict(image_id, number, "unsure")
        row_share, column_share = segmentation.means[row, number - 1].tolist()
        yield Segment(
            number=number,
            share=float(segmentation.shares[row, number - 1]),
            tiles=tuple((name, tile_address(tile, crisp)) for name, tile in sheet.tiles(request, number)),
            place=position_in_words(row_share, column_share),
            shows=CONTENT_WORDS.get(verdict.content, ""),
            covers=what_it_covers(verdict.reason, number),
            verdict=verdict.verdict,
            reason=verdict.reason,
            source=verdict.source,
            confidence=_confidence(verdict),
        )


def _confidence(verdict: SegmentVerdict) -> float | None:
    if verdict.p_spurious is None or verdict.verdict == "unsure" or verdict.source == "human":
        return None
    return verdict.p_spurious if verdict.verdict == "spurious" else 1 - verdict.p_spurious


def _answer(record: RunRecord, row: int, probabilities: torch.Tensor) -> Answer:
    best = int(probabilities[row].argmax())
    return Answer(record.class_names[best], float(probabilities[row, best]), best == int(record.labels[row]))

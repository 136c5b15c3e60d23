"""What follows from the verdicts of rounds of critique: a table, files to correct, masks, findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Explanation
from lvlm_va.common.distributed import on_first
from lvlm_va.common.errors import unknown_name
from lvlm_va.critique import Critique, SegmentFinding, VerdictTable, position_in_words
from lvlm_va.critique.places import Place, segment_places
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.drawn_masks import DrawnMasks
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Round, chosen_indices
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.segmentation import Segmentation, pixel_effect, spurious_masks


def verdict_table(rounds: Sequence[Round], options: AlignmentOptions) -> VerdictTable:
    """Return the verdicts reached in these rounds, with the descriptions and examples that they stand on."""
    verdicts = tuple(v for part in rounds for critique in part.critiques for v in critique.verdicts)
    examples = tuple(getattr(options.judge, "examples", ()))
    return VerdictTable(
        verdicts, options.specifications, examples, dict(chain.from_iterable(map(_places, rounds)))
    )


def _places(found: Round) -> Iterator[tuple[str, tuple[Place, ...]]]:
    labels, effect = found.segmentation.labels.cpu().numpy(), found.segmentation.effect
    for row, critique in enumerate(found.critiques):
        shares = pixel_effect(found.explanation.attributions[row : row + 1], effect)[0].cpu().numpy()
        yield critique.image_id, segment_places(labels[row], shares)


def read_corrections(
    table: VerdictTable, rounds: Sequence[Round], run: RunDirectory, class_names: Sequence[str]
) -> VerdictTable:
    """Return the table as an expert has corrected it in the run directory's JSON files, one for each round.

    Where a file says only that a model had not answered, nobody corrected anything: it may have answered since.
    """
    paths = [run.file("verdicts", found.key, ".json") for found in rounds]
    read = on_first(lambda: [(path, VerdictTable.load(path)) for path in paths if path and path.exists()])
    for path, edits in read:
        said = tuple(v for v in edits.verdicts if (v.verdict, v.status) != ("unsure", "failed"))
        try:
            table = correct(table, replace(edits, verdicts=said), class_names)
        except ValueError as error:
            raise ValueError(f"{path}: {error} Remove the file, or restore it from a copy.") from error
    return table


def correct(table: VerdictTable, edits: VerdictTable, class_names: Sequence[str]) -> VerdictTable:
    """Return the table with an expert's corrections.

    Raises
    ------
    ValueError
        If they are on other segments, or describe a class that there is not.
    """
    for label in edits.specifications:
        if label not in class_names:
            raise unknown_name("specifications", label, class_names)
    return table.corrected_by(edits)


def keep_verdicts(table: VerdictTable, rounds: Sequence[Round], run: RunDirectory) -> None:
    """Write what the table says of each round's images into the round's JSON file."""

    def keep() -> None:
        for found in rounds:
            path = run.file("verdicts", found.key, ".json")
            if path is not None:
                table.of_images({critique.image_id for critique in found.critiques}).save(path)

    on_first(keep)


def make_alignment_set(
    rounds: Sequence[Round], data: TrainingData, drawn: DrawnMasks | None = None
) -> AlignmentSet:
    """Return the critiqued images with their masks: 1 where a segment was judged spurious.

    Parameters
    ----------
    rounds : sequence of Round
        What was critiqued. Segments without a verdict, and ``unsure`` ones, are not masked.
    data : TrainingData
        The images.
    drawn : DrawnMasks or None, default=None
        Masks that take the place of those of verdicts; those of other images are left out.

    Returns
    -------
    AlignmentSet
        In the order of `chosen_indices`.
    """
    cases = chosen_indices(rounds)
    rows, masks = data.rows_of(cases), round_masks(rounds, data.images.dtype)
    if drawn is not None:
        masks = drawn.over(cases, masks)
    weights = None if data.weights is None else data.weights[rows]
    return AlignmentSet(data.images[rows], data.labels[rows], masks, data.findings_of(cases), weights)


def round_masks(rounds: Sequence[Round], dtype: torch.dtype) -> Tensor:
    """Return the masks (a, H, W) of the critiqued images: 1 where a segment was judged spurious."""
    return torch.cat([spurious_masks(part.segmentation, part.codes.spurious, dtype=dtype) for part in rounds])


def segment_findings(
    explanation: Explanation,
    segmentation: Segmentation,
    critiques: Sequence[Critique],
    verdicts: VerdictTable,
    class_names: Sequence[str],
) -> list[SegmentFinding]:
    """Return what was found about each critiqued segment; a segment without a verdict is unsure."""
    findings = []
    for row, critique in enumerate(critiques):
        for segment in range(1, int(segmentation.n_segments[row]) + 1):
            verdict = verdicts.get(critique.image_id, segment)
            row_share, column_share = segmentation.means[row, segment - 1].tolist()
            findings.append(
                SegmentFinding(
                    critique.image_id,
                    class_names[int(explanation.target[row])],
                    segment,
                    float(segmentation.shares[row, segment - 1]),
                    position_in_words(row_share, column_share),
                    "unsure" if verdict is None else verdict.verdict,
                    "" if verdict is None else verdict.reason,
                    segmentation.effect,
                )
            )
    return findings

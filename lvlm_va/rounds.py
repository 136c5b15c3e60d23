"""One round of critique: from a classifier and its training data to critiqued segments.

Each step takes what the step before it returned and, through the `RunDirectory`, repeats nothing that an
earlier run with the same inputs and parameters has done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvlm_va._logits import predict_logits
from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Explanation
from lvlm_va.critique import (
    Critique,
    CritiqueRequest,
    SegmentFinding,
    VerdictTable,
    build_requests,
    collect_critiques,
    judge_critiques,
    position_in_words,
)
from lvlm_va.image_classifier import TrainingData
from lvlm_va.round_options import RoundOptions
from lvlm_va.run_directory import RunDirectory
from lvlm_va.sampling import select_alignment_set
from lvlm_va.segmentation import Segmentation, pixel_effect, spurious_masks


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of the training data chosen for critique: int64 tensor of shape (a,)."""

    indices: Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """Images chosen for critique, with their segments.

    Attributes
    ----------
    indices : Tensor of shape (a,), int64
        Rows of the training data.
    explanation : Explanation
        Attributions of the logits of their labels.
    segmentation : Segmentation
        Segments of those attributions.
    key : str
        Stands for everything that the segments depend on.
    """

    indices: Tensor
    explanation: Explanation
    segmentation: Segmentation
    key: str


@dataclass(frozen=True, eq=False)
class Round:
    """What one round of critique found.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier that was looked into.
    indices : Tensor of shape (a,), int64
        Rows of the training data that were critiqued.
    explanation : Explanation
        Attributions of the logits of their labels.
    segmentation : Segmentation
        Segments of those attributions.
    critiques : tuple of Critique
        What the critic said, one per image, with the judge's verdicts.
    key : str
        Stands for everything that the verdicts depend on.
    """

    module: nn.Module
    indices: Tensor
    explanation: Explanation
    segmentation: Segmentation
    critiques: tuple[Critique, ...]
    key: str


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds that the block takes to ``seconds[stage]``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def run_round(
    module: nn.Module,
    data: TrainingData,
    options: RoundOptions,
    run: RunDirectory,
    module_key: str,
    seconds: dict[str, float],
    *,
    earlier: Sequence[Round] = (),
) -> Round:
    """Choose images, explain them, cut the explanations into segments and have them critiqued.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier to look into.
    data : TrainingData
        What it was trained on.
    options : RoundOptions
        How each step is done.
    run : RunDirectory
        Where results are kept.
    module_key : str
        Stands for the module and the data.
    seconds : dict of str to float
        Gets the seconds of each step.
    earlier : sequence of Round
        Earlier rounds; what they critiqued is not chosen again.

    Returns
    -------
    Round
        What was found.
    """
    explained = explain_round(module, data, options, run, module_key, seconds, earlier=earlier)
    chosen, segmentation = explained.indices, explained.segmentation
    key = critique_key(explained, options, run)
    with (
        timed(seconds, "critique"),
        tqdm(total=len(chosen), desc="critique", disable=not options.verbose, leave=False) as bar,
    ):
        critiques = collect_critiques(
            options.critic,
            [data.image_ids[i] for i in chosen.tolist()],
            lambda positions: critique_requests(data, options, explained, positions),
            path=run.file("critiques", key, ".jsonl"),
            on_progress=bar.update,
        )
    n_segments_of = segmentation.n_segments.tolist()
    if options.judge is not None:
        # Its own key: a judge with other examples reads what the critic said before.
        key = run.key("judge", key, options.judge)
        with timed(seconds, "judge"):
            critiques = judge_critiques(
                options.judge, critiques, n_segments_of, path=run.file("judged", key, ".jsonl")
            )
    for critique, n_segments in zip(critiques, n_segments_of, strict=True):
        if len(critique.verdicts) != n_segments:
            raise ValueError(
                f"The 'critic' argument must reach a verdict on every segment. Got {len(critique.verdicts)} on the "
                f"{n_segments} segments of image {critique.image_id!r} instead. A critic that only speaks needs a "
                "judge: judge='parser' reads lines such as 'Segment 1: spurious'."
            )
    return Round(module, chosen, explained.explanation, segmentation, tuple(critiques), key)


def explain_round(
    module: nn.Module,
    data: TrainingData,
    options: RoundOptions,
    run: RunDirectory,
    module_key: str,
    seconds: dict[str, float],
    *,
    earlier: Sequence[Round] = (),
) -> Explained:
    """Do what comes before the critique; parameters as in `run_round`."""
    exclude = chosen_indices(earlier)
    key = run.key("sample", module_key, options.sampler, options.n_align, exclude, options.seed)
    with timed(seconds, "sample"):
        chosen = run.dataclass(
            "sample", key, Selection, lambda: _select(module, data, options, exclude)
        ).indices
    images, labels = data.images[chosen], data.labels[chosen]

    key = run.key("explain", key, options.attributor, options.references)
    with timed(seconds, "explain"):
        explanation = run.dataclass(
            "explain",
            key,
            Explanation,
            lambda: options.attributor.attribute(
                module, images, labels, options.references.for_images(images)
            ),
        )

    key = run.key("segment", key, options.segmenter)
    with timed(seconds, "segment"):
        segmentation = run.dataclass(
            "segment",
            key,
            Segmentation,
            lambda: options.segmenter.segment(explanation.attributions, images, options.seed),
        )
    return Explained(chosen, explanation, segmentation, key)


def critique_key(explained: Explained, options: RoundOptions, run: RunDirectory) -> str:
    """Return the key that stands for everything that the critic's words depend on."""
    return run.key("critique", explained.key, options.critic, options.specifications)


def chosen_indices(rounds: Sequence[Round]) -> Tensor:
    """Return the rows of the training data critiqued in these rounds, in order."""
    return torch.cat([torch.empty(0, dtype=torch.int64), *(part.indices for part in rounds)])


def verdict_table(rounds: Sequence[Round], options: RoundOptions) -> VerdictTable:
    """Return the verdicts reached in these rounds, with the descriptions and examples that they stand on."""
    verdicts = tuple(v for part in rounds for critique in part.critiques for v in critique.verdicts)
    return VerdictTable(verdicts, options.specifications, tuple(getattr(options.judge, "examples", ())))


def read_corrections(table: VerdictTable, rounds: Sequence[Round], run: RunDirectory) -> VerdictTable:
    """Return the table as an expert has corrected it in the run directory's JSON files, one for each round."""
    for found in rounds:
        path = run.file("verdicts", found.key, ".json")
        if path is not None and path.exists():
            table = table.corrected_by(VerdictTable.load(path))
    return table


def keep_verdicts(table: VerdictTable, rounds: Sequence[Round], run: RunDirectory) -> None:
    """Write what the table says of each round's images into the round's JSON file."""
    for found in rounds:
        path = run.file("verdicts", found.key, ".json")
        if path is not None:
            names = {critique.image_id for critique in found.critiques}
            replace(table, verdicts=tuple(v for v in table.verdicts if v.image_id in names)).save(path)


def make_alignment_set(rounds: Sequence[Round], data: TrainingData, verdicts: VerdictTable) -> AlignmentSet:
    """Return the critiqued images with their masks: 1 where a segment was judged spurious.

    Parameters
    ----------
    rounds : sequence of Round
        What was critiqued.
    data : TrainingData
        The images.
    verdicts : VerdictTable
        Segments without a verdict, and ``unsure`` ones, are not masked.

    Returns
    -------
    AlignmentSet
        In the order of `chosen_indices`.
    """
    masks = []
    for part in rounds:
        spurious = torch.zeros(part.segmentation.shares.shape, dtype=torch.bool)
        for row, index in enumerate(part.indices.tolist()):
            for segment in range(1, int(part.segmentation.n_segments[row]) + 1):
                verdict = verdicts.get(data.image_ids[index], segment)
                spurious[row, segment - 1] = verdict is not None and verdict.verdict == "spurious"
        masks.append(spurious_masks(part.segmentation, spurious, dtype=data.images.dtype))
    rows = chosen_indices(rounds)
    return AlignmentSet(data.images[rows], data.labels[rows], torch.cat(masks))


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


def _select(module: nn.Module, data: TrainingData, options: RoundOptions, exclude: Tensor) -> Selection:
    free = np.setdiff1d(np.arange(len(data.labels)), exclude.numpy())
    logits = predict_logits(module, data.images, batch_size=options.batch_size)[free]
    chosen = select_alignment_set(
        options.sampler,
        logits.softmax(1).numpy(),
        data.labels[free].numpy(),
        options.n_align,
        random_state=options.seed,
    )
    return Selection(torch.from_numpy(free[chosen]))


def critique_requests(
    data: TrainingData, options: RoundOptions, explained: Explained, positions: Sequence[int]
) -> list[CritiqueRequest]:
    """Return what the critic is given of the chosen images at these positions."""
    rows = torch.as_tensor(positions, dtype=torch.int64)
    indices = explained.indices[rows].tolist()
    names = [data.class_names[k] for k in data.labels[indices].tolist()]
    effect = explained.segmentation.effect
    return build_requests(
        data.images[indices].numpy(),
        explained.segmentation.labels[rows].cpu().numpy(),
        pixel_effect(explained.explanation.attributions[rows], effect).cpu().numpy(),
        indices=indices,
        image_ids=[data.image_ids[i] for i in indices],
        labels=names,
        descriptions=[options.specifications.get(name, "") for name in names],
        effect_kind=effect,
    )

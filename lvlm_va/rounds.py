"""One round of critique: from a classifier and its training data to critiqued segments.

Each step takes what the step before it returned and, through the `RunDirectory`, repeats nothing that an
earlier run with the same inputs and parameters has done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvlm_va._errors import unknown_name
from lvlm_va._logits import predict_logits
from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Attributor, Explanation, ReferenceSet, resolve_attributor
from lvlm_va.critique import (
    Critic,
    Critique,
    CritiqueRequest,
    Judge,
    LLMJudge,
    LVLMCritic,
    VerdictTable,
    build_requests,
    collect_critiques,
    judge_critiques,
    resolve_critic,
    resolve_judge,
)
from lvlm_va.image_classifier import TrainingData
from lvlm_va.run_directory import RunDirectory
from lvlm_va.sampling import Sampler, resolve_sampler, select_alignment_set
from lvlm_va.segmentation import Segmentation, Segmenter, positive_effect, resolve_segmenter, spurious_masks


@dataclass(frozen=True, eq=False)
class RoundOptions:
    """How a round is done: the estimator's parameters, resolved."""

    sampler: Sampler
    n_align: int
    attributor: Attributor
    references: ReferenceSet
    segmenter: Segmenter
    critic: Critic
    judge: Judge | None
    specifications: Mapping[str, str]
    batch_size: int
    seed: int
    verbose: int


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of the training data chosen for critique: int64 tensor of shape (a,)."""

    indices: Tensor


@dataclass(frozen=True, eq=False)
class Round:
    """What one round of critique found.

    Attributes
    ----------
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

    indices: Tensor
    explanation: Explanation
    segmentation: Segmentation
    critiques: tuple[Critique, ...]
    key: str


def resolve_critic_and_judge(
    critic: Critic | str | None, judge: Judge | str | None, run_dir: str | os.PathLike[str] | None
) -> tuple[Critic | None, Judge | None]:
    """Return who judges; models keep their replies and a record of all exchanges in the run directory."""
    resolved = resolve_critic(critic)
    if run_dir is not None and isinstance(resolved, LVLMCritic):
        resolved = resolved.kept_in(run_dir)
    reader = resolve_judge(judge, resolved)
    if run_dir is not None and isinstance(reader, LLMJudge):
        reader = reader.kept_in(run_dir)
    return resolved, reader


def resolve_round_options(
    parameters: Mapping[str, Any],
    critic: Critic | None,
    judge: Judge | None,
    references: ReferenceSet,
    data: TrainingData,
    seed: int,
) -> RoundOptions | None:
    """Resolve and check all that rounds need, before anything is trained.

    Parameters
    ----------
    parameters : mapping of str to object
        The estimator's parameters.
    critic : Critic or None
        Who says what the segments cover.
    judge : Judge or None
        Who turns that into verdicts where the critic does not.
    references : ReferenceSet
        What explanations are measured against.
    data : TrainingData
        What the classifier is trained on.
    seed : int
        Seed of samples and segment starts.

    Returns
    -------
    RoundOptions or None
        None without a critic; names are checked all the same.

    Raises
    ------
    ValueError
        If a name is unknown, a description is of an unknown class, the critic cannot judge the data, or there are fewer
        images than are to be critiqued in all rounds.
    """
    sampler, segmenter = resolve_sampler(parameters["sampler"]), resolve_segmenter(parameters["segmenter"])
    attributor = resolve_attributor(parameters["attribution"])
    if critic is None:
        return None
    specifications = {str(label): text for label, text in (parameters["specifications"] or {}).items()}
    for label in specifications:
        if label not in data.class_names:
            raise unknown_name("specifications", label, data.class_names)
    n, n_align, n_rounds = len(data.labels), parameters["n_align"], parameters["n_rounds"]
    if hasattr(critic, "check_data"):
        critic.check_data(n, tuple(data.images.shape[2:]), data.class_names)
    if n_align * n_rounds > n:
        raise ValueError(
            f"The 'n_align' argument must be at most {n // n_rounds}, for {n_rounds} round{'s' * (n_rounds > 1)} of "
            f"different images out of {n}. Got {n_align} instead."
        )
    return RoundOptions(
        sampler=sampler,
        n_align=n_align,
        attributor=attributor,
        references=references,
        segmenter=segmenter,
        critic=critic,
        judge=judge,
        specifications=specifications,
        batch_size=parameters["batch_size"],
        seed=seed,
        verbose=parameters["verbose"],
    )


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

    key = run.key("critique", key, options.critic, options.specifications)
    with (
        timed(seconds, "critique"),
        tqdm(total=len(chosen), desc="critique", disable=not options.verbose, leave=False) as bar,
    ):
        critiques = collect_critiques(
            options.critic,
            [data.image_ids[i] for i in chosen.tolist()],
            lambda positions: _requests(data, options, chosen, explanation, segmentation, positions),
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
    return Round(chosen, explanation, segmentation, tuple(critiques), key)


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


def _requests(
    data: TrainingData,
    options: RoundOptions,
    chosen: Tensor,
    explanation: Explanation,
    segmentation: Segmentation,
    positions: Sequence[int],
) -> list[CritiqueRequest]:
    rows = torch.as_tensor(positions, dtype=torch.int64)
    indices = chosen[rows].tolist()
    names = [data.class_names[k] for k in data.labels[indices].tolist()]
    return build_requests(
        data.images[indices].numpy(),
        segmentation.labels[rows].cpu().numpy(),
        positive_effect(explanation.attributions[rows]).cpu().numpy(),
        indices=indices,
        image_ids=[data.image_ids[i] for i in indices],
        labels=names,
        descriptions=[options.specifications.get(name, "") for name in names],
    )

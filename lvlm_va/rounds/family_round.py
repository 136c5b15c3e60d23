"""A round of critique in which families of segments are judged instead of images: some twenty questions for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lvlm_va.auditing.grouping import find_groups, halve
from lvlm_va.auditing.regions import RegionDescriber, RegionTable, join_tables
from lvlm_va.backends.png import png_bytes
from lvlm_va.common.distributed import on_first
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.randomness import derive_seed
from lvlm_va.critique import Critique, CritiqueRequest, SegmentVerdict, TileSheet, collect_critiques
from lvlm_va.critique.families import FamilyVerdicts
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.families import AskedFamilies, AskedFamily
from lvlm_va.rounds.family_questions import FamilyAsker, Question
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Explained, Round
from lvlm_va.rounds.verdict_codes import VerdictCodes
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.runs.shards import SHARD, sharded

# Of all questions, the share for single images; of the others, the share for the families as they are found first.
_CHECKS, _FIRST = 0.15, 0.7
# How much a family that a single image speaks against is in doubt; one that is unsure is so wholly.
_CONTRADICTED = 0.5


@dataclass(frozen=True, eq=False)
class _Said:
    """A family and what was said of it, or of the family that it was split from; `whole` if it cannot be split."""

    question: Question
    critique: Critique
    asked: bool = True
    whole: bool = False

    @property
    def verdict(self) -> SegmentVerdict:
        return self.critique.verdicts[0]


def have_families_critiqued(
    module: nn.Module,
    explained: Explained,
    data: TrainingData,
    options: AlignmentOptions,
    run: RunDirectory,
    seed: int,
) -> Round:
    """Have families of segments judged; what is in the run directory is not asked again.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier that was explained.
    explained : Explained
        The surveyed images, and the segments of their explanations.
    data : TrainingData
        The images.
    options : AlignmentOptions
        Who judges, and how many questions are put.
    run : RunDirectory
        Where answers are kept as they come.
    seed : int
        Of all that is drawn.

    Returns
    -------
    Round
        The segments and their verdicts: those of their families.
    """
    table = find_table(module, explained, data, run, options)
    with run.timed("critique"):
        critiques, families, key = on_first(
            lambda: _judge(explained, table, data, options, run, seed % 2**32)
        )
    codes = VerdictCodes.of(explained.segmentation, critiques)
    parts = explained.indices, explained.explanation, explained.segmentation
    return Round(module, *parts, tuple(critiques), key, codes, families)


def find_table(
    module: nn.Module, explained: Explained, data: TrainingData, run: RunDirectory, options: AlignmentOptions
) -> RegionTable:
    """Return what the segments of the surveyed images are like. All processes must call it."""
    positions, segmentation = torch.arange(len(explained.indices)), explained.segmentation
    describer = RegionDescriber(module, data.images[:2])

    def describe(part: Tensor) -> RegionTable:
        cases = explained.indices[part]
        images, outcomes = data.images[data.rows_of(cases)], data.outcomes_of(cases)
        return describer.describe(images, outcomes, segmentation.select(part))

    sizes = [len(part) for part in positions.split(SHARD)]
    progress = "describe" if options.verbose else None
    with run.timed("group"):
        return sharded(
            run,
            "regions",
            run.key("regions", explained.key),
            RegionTable,
            positions,
            describe,
            partial(join_tables, n_images=sizes),
            progress=progress,
        )


def first_questions(
    explained: Explained,
    table: RegionTable,
    data: TrainingData,
    options: AlignmentOptions,
    run: RunDirectory,
    seed: int,
) -> tuple[FamilyAsker, list[Question]]:
    """Return who asks, and about which families at first, those of most effect before the others."""
    n_first = max(1, round(_FIRST * (options.n_questions - _n_checks(options))))
    groups = find_groups(table, n_first, seed=seed) if len(table) else []
    families = fingerprint(
        [data.case_id(case) for case in explained.indices.tolist()], table.rows, table.segments
    )
    families = fingerprint(families, [group.members for group in groups])
    key = run.key(
        "families", explained.key, families, options.n_questions, options.critic, options.specifications
    )
    if options.judge is not None:
        key = run.key("judge", key, options.judge)
    asker = FamilyAsker(explained, table, families, data, options, run, seed, key)
    return asker, [asker.question(str(number), group) for number, group in enumerate(groups, start=1)]


def _n_checks(options: AlignmentOptions) -> int:
    if isinstance(options.critic, FamilyVerdicts):
        return 0
    return int(_CHECKS * options.n_questions)


def _judge(
    explained: Explained,
    table: RegionTable,
    data: TrainingData,
    options: AlignmentOptions,
    run: RunDirectory,
    seed: int,
) -> tuple[list[Critique], AskedFamilies, str]:
    """Return the critiques of the surveyed images, the families, and the key that stands for both."""
    asker, questions = first_questions(explained, table, data, options, run, seed)
    said = [_Said(*both) for both in zip(questions, asker.ask(questions), strict=True)]
    n_left, singles = options.n_questions - len(said), []
    if n_checks := min(_n_checks(options), n_left):
        shown = np.concatenate([table.rows[question.exemplars] for question in questions])
        rows = np.setdiff1d(table.rows, shown)  # out of sample
        rows = np.random.default_rng(derive_seed(seed, len(table))).permutation(rows)
        singles = asker.ask_images(rows[:n_checks])
        n_left -= len(singles)
    checks = {(verdict.image_id, verdict.segment): verdict for one in singles for verdict in one.verdicts}
    # As the families were found: afterwards those are split that the checks spoke against.
    agreeing = [
        one.verdict.verdict == checks[place].verdict
        for one in said
        for place in asker.places(one.question.group.members)
        if place in checks and "unsure" not in (one.verdict.verdict, checks[place].verdict)
    ]
    while n_left and (doubtful := _doubtful(asker, said, checks)):
        # A few at a time: of what falls apart first, more may have to be split.
        asked: list[Question] = []
        for one in doubtful[: max(1, n_left // 4)]:
            halves = halve(table, one.question.group, seed=seed)
            said.remove(one)
            if not halves:
                said.append(replace(one, whole=True))
            for number, half in enumerate(halves, start=1):
                question = asker.question(f"{one.question.name}.{number}", half)
                if np.array_equal(question.exemplars, one.question.exemplars):  # they were judged
                    said.append(_Said(question, one.critique))
                elif len(asked) < n_left:
                    asked.append(question)
                else:
                    said.append(_Said(question, one.critique, asked=False))
        said += [_Said(*both) for both in zip(asked, asker.ask(asked), strict=True)]
        n_left -= len(asked)
    said.sort(key=lambda one: [int(part) for part in one.question.name.split(".")])
    families = tuple(_family(asker, one) for one in said)
    asked_families = AskedFamilies(
        families,
        len(explained.indices),
        options.n_questions - n_left,
        asker.n_requests,
        len(agreeing),
        sum(agreeing),
        asker.families,
    )
    key = run.key("told", asker.key, [(one.name, one.verdict.verdict) for one in families])
    return _tell(asker, families, singles, run.file("critiques", key, ".jsonl")), asked_families, key


def _doubtful(
    asker: FamilyAsker, said: Sequence[_Said], checks: Mapping[tuple[str, int], SegmentVerdict]
) -> list[_Said]:
    """Return the families to split, those with most effect in doubt first."""
    doubts = []
    for one in said:
        verdict, members = one.verdict, one.question.group.members
        if one.whole or not one.asked or verdict.status == "failed":
            continue
        doubt = 1.0 if verdict.verdict == "unsure" else 0.0
        if not doubt and verdict.p_spurious is not None:
            doubt = min(verdict.p_spurious, 1 - verdict.p_spurious)
        known = {checks[place].verdict for place in asker.places(members) if place in checks}
        if known - {verdict.verdict, "unsure"}:
            doubt = max(doubt, _CONTRADICTED)
        if doubt:
            doubts.append((-doubt * float(asker.table.shares[members].sum()), one))
    return [one for _, one in sorted(doubts, key=lambda pair: pair[0])]


def _family(asker: FamilyAsker, one: _Said) -> AskedFamily:
    """Return what is kept and told of a family."""
    table, members = asker.table, one.question.group.members
    sheet = b""
    request = asker.request(one.question)
    if one.asked:
        sheet = png_bytes(TileSheet().render(request, max_images=1)[0].image)
    return AskedFamily(
        one.question.name,
        request.label,
        tuple(asker.places(members)),
        float(table.shares[members].sum() / len(asker.explained.indices)),
        tuple(asker.places(one.question.exemplars)),
        one.asked,
        one.verdict,
        sheet,
    )


@dataclass(frozen=True)
class _Told:
    """The critic that repeats what was said of families, image by image."""

    critiques: Mapping[str, Critique]

    name = "families"

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        return [self.critiques[request.image_id] for request in requests]


def _tell(
    asker: FamilyAsker, families: Sequence[AskedFamily], singles: Sequence[Critique], path: Path | None
) -> list[Critique]:
    """Return the critique of each surveyed image: what was said of it by itself, or else of its segments' families."""
    verdicts: dict[str, list[SegmentVerdict]] = defaultdict(list)
    for image, segment in asker.places(np.arange(len(asker.table))):
        verdicts[image].append(SegmentVerdict(image, segment, "unsure", reason="in no family"))
    for family in families:
        said = family.verdict
        reason = f"family {family.name}: {said.reason}"
        for image, segment in family.members:
            verdicts[image][segment - 1] = replace(said, image_id=image, segment=segment, reason=reason)
    told = {image: Critique.from_verdicts(image, found) for image, found in verdicts.items()}
    told |= {critique.image_id: critique for critique in singles}
    ids = [asker.data.case_id(case) for case in asker.explained.indices.tolist()]
    return collect_critiques(_Told(told), ids, asker.requests, path=path)

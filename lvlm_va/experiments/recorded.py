"""What verdicts of a large vision-language model, as the exam has recorded them, do to the net that they are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critic_exam import exam
from lvlm_va.critic_exam.sets import EXAM_SEED, SETS, Questions, load_questions, question_rows
from lvlm_va.critique import Critique, CritiqueRequest, SegmentVerdict, Verdict, VerdictPolicy
from lvlm_va.datasets import DecoyData
from lvlm_va.experiments.methods import Fitted, Method, align, erm
from lvlm_va.experiments.table import Comparison, Results
from lvlm_va.experiments.tasks import Task, TrainingSettings

_N_TEST = 1000
# A segment whose pixels are this much the same (intersection over union) is the one that was asked about.
_SAME = 0.5
TRUE, RECORDED = "true_verdicts", "recorded_verdicts"
# Verdicts on the segments of each critiqued image.
Verdicts = Sequence[Sequence[Verdict]]


@dataclass(frozen=True, eq=False)
class KnownVerdicts:
    """Verdicts on the exam's segments, carried to those of the same net trained anew.

    On another machine the net's last digits differ, and with them the edges of segments: a segment gets the verdict on
    the one it shares most of its pixels with, or is undecided where there is none.
    """

    questions: Questions
    verdicts: Verdicts

    name = "known verdicts"

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Return the verdicts on each image's segments."""
        rows = {request.index: k for k, request in enumerate(self.questions.requests)}
        return [self._carry(request, rows[request.index]) for request in requests]

    def _carry(self, request: CritiqueRequest, row: int) -> Critique:
        known, given = self.questions.requests[row], self.verdicts[row]
        shared = _overlaps(request.segments, known.segments, request.n_segments, known.n_segments)
        verdicts = []
        for segment, overlaps in enumerate(shared, start=1):
            best = int(overlaps.argmax())
            verdict: Verdict = given[best] if overlaps[best] >= _SAME else "unsure"
            verdicts.append(SegmentVerdict(request.image_id, segment, verdict, source=self.name))
        return Critique.from_verdicts(request.image_id, verdicts)


def _overlaps(
    ours: NDArray[np.int64], known: NDArray[np.int64], n_ours: int, n_known: int
) -> NDArray[np.float64]:
    """Return the intersection over union of every two segments: shape (n_ours, n_known)."""
    pairs = np.zeros((n_ours + 1, n_known + 1))
    np.add.at(pairs, (ours.ravel(), known.ravel()), 1)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    shares: NDArray[np.float64] = (pairs / np.maximum(union, 1))[1:, 1:]
    return shares


def true_verdicts(name: str) -> Verdicts:
    """Return what is true of the segments of a set."""
    questions = load_questions(name)
    return [
        ["spurious" if spurious else "relevant" for spurious in row[: request.n_segments]]
        for row, request in zip(questions.spurious, questions.requests, strict=True)
    ]


def recorded_verdicts(policy: VerdictPolicy, name: str) -> Verdicts:
    """Return what the recorded model's answers make of the segments of a set."""
    critiques = exam("recorded", policy=policy, sets=[name]).sets[name].critiques
    return [[verdict.verdict for verdict in critique.verdicts] for critique in critiques]


def _aligned(verdicts: Callable[[str], Verdicts], propagate: bool) -> Method:
    """Return the alignment of the exam's net by verdicts on the exam's images."""

    def run(task: Task, data: DecoyData, plain: Fitted, seed: int) -> Fitted:
        assert task.exam_set is not None
        questions = load_questions(task.exam_set)
        rows = question_rows(task.exam_set)
        return align(
            task, data, plain, seed,
            KnownVerdicts(questions, verdicts(task.exam_set)),
            propagate=propagate, sampler=lambda *args: rows, segmenter="regions",
        )  # fmt: skip

    return run


_MASKED = VerdictPolicy(surroundings="mask")
COMPARISON = Comparison(
    {
        "erm": erm,
        **{
            f"{name}{', propagated' * propagate}": _aligned(verdicts, propagate)
            for propagate in (False, True)
            for name, verdicts in (
                (TRUE, true_verdicts),
                (RECORDED, partial(recorded_verdicts, VerdictPolicy())),
                ("recorded,_surroundings_masked", partial(recorded_verdicts, _MASKED)),
            )
        },
    }
)


def recorded_tasks() -> dict[str, Task]:
    """Return the exam's sets, each with the net whose segments were shown; the seed is that of the alignment."""
    return {name: _task(name) for name in SETS}


def _task(name: str) -> Task:
    load, net = SETS[name].load, SETS[name].net
    sizes = {"train": net.n, "test": _N_TEST}
    settings = TrainingSettings(
        net.module,
        net.epochs,
        net.epochs,
        net.batch_size,
        schedule=net.schedule,
        n_references=net.n_references,
    )
    return Task(
        lambda split, seed: load(split, sizes[split], None),
        f"{net.n:,} training images of the exam",
        settings,
        n_align=len(question_rows(name)),
        propagate=net.n,
        n_explained=100,
        start_seed=EXAM_SEED,
        exam_set=name,
    )


def share_of_gain(results: Results) -> Mapping[str, dict[str, float]]:
    """Return, by set and way of alignment, the gain of recorded verdicts over that of true ones, in the worst group."""
    shares: dict[str, dict[str, float]] = {}
    for name, methods in results.items():
        gains = {method: mean(row["worst_group_gain"] for row in rows) for method, rows in methods.items()}
        shares[name] = {
            way.lstrip(", ") or "as critiqued": gains[RECORDED + way] / gains[TRUE + way]
            for way in ("", ", propagated")
            if gains.get(TRUE + way, 0) > 0 and RECORDED + way in gains
        }
    return shares

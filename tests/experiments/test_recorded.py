"""Verdicts on the exam's segments, carried to segments of a net trained anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lvlm_va.critic_exam.sets import load_questions, question_rows
from lvlm_va.critique import VerdictPolicy
from lvlm_va.experiments.recorded import (
    RECORDED,
    TRUE,
    KnownVerdicts,
    recorded_tasks,
    recorded_verdicts,
    share_of_gain,
    true_verdicts,
)


def test_a_verdict_follows_its_segment_whatever_its_number_and_edges() -> None:
    questions, truth = load_questions("digits", 6), true_verdicts("digits")
    rows = [int(request.image_id.split("-")[1]) for request in questions.requests]
    critic = KnownVerdicts(questions, [truth[row] for row in rows])
    for request, row in zip(questions.requests, rows, strict=True):
        n = request.n_segments
        turned = np.where(request.segments > 0, n + 1 - request.segments, 0)
        first = np.argwhere(turned == 1)[0]
        turned[tuple(first)] = 0
        [critique] = critic.critique([replace(request, segments=turned)])
        assert [verdict.verdict for verdict in critique.verdicts] == list(truth[row])[::-1]


def test_a_segment_that_was_not_asked_about_is_undecided() -> None:
    questions, truth = load_questions("digits", 2), true_verdicts("digits")
    request = questions.requests[0]
    whole = replace(request, segments=np.ones_like(request.segments))
    [critique] = KnownVerdicts(questions, truth).critique([whole])
    assert [verdict.verdict for verdict in critique.verdicts] == ["unsure"]


def test_where_the_recorded_model_erred_nowhere_it_aligns_as_the_truth_does() -> None:
    for name in ("digits", "lesions"):
        assert recorded_verdicts(VerdictPolicy(), name) == true_verdicts(name)


def test_every_set_of_the_exam_is_aligned_from_the_net_that_its_questions_are_about() -> None:
    for name, task in recorded_tasks().items():
        assert task.exam_set == name
        assert task.start_seed is not None
        assert task.n_align == len(question_rows(name))


def test_the_share_of_the_gain_is_that_of_means_over_seeds() -> None:
    gains = {TRUE: (0.2, 0.4), RECORDED: (0.1, 0.2), f"{TRUE}, propagated": (0.0, 0.0)}
    rows = {method: [{"worst_group_gain": gain} for gain in both] for method, both in gains.items()}
    rows[f"{RECORDED}, propagated"] = [{"worst_group_gain": 0.1}]
    assert share_of_gain({"digits": rows}) == {"digits": {"as critiqued": 0.5}}

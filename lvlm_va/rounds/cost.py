"""What a round of critique would take from models, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import torch
from torch import nn

from lvlm_va.backends import Estimate, Prices
from lvlm_va.backends.estimates import BYTES_PER_TOKEN
from lvlm_va.critique import Critic, Critique, CritiqueRequest, Judge, read_critiques
from lvlm_va.critique.optional_methods import bounds_critiques, estimates_critiques, estimates_judging
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.choice import Choice
from lvlm_va.rounds.critique_round import critique_key, verdict_key
from lvlm_va.rounds.family_round import find_table, first_questions
from lvlm_va.rounds.shown import critique_requests
from lvlm_va.rounds.types import Explained, Selection, Trained, chosen_indices

_CHUNK = 16
# Tokens of a critique whose critic sets no limit of its own.
_MOST_TOKENS = 1024


def estimate_job(job: AlignmentJob, trained: Trained, prices: Prices | None = None) -> Estimate:
    """Return about what all rounds of a job would ask of the critic's and the judge's models.

    Parameters
    ----------
    job : AlignmentJob
        What its run directory holds already is not asked again.
    trained : Trained
        The classifier that would be critiqued.
    prices : Prices or None, default=None
        What the models' provider charges, the same for both; None leaves the cost unknown.

    Returns
    -------
    Estimate
        Zero without a critic, and for critics and judges that ask no model or cannot say what they would ask
        (`lvlm_va.critique.optional_methods`). The judge is taken to read critiques as long as the critic may make
        them, so that output, cost and the judge's input are upper bounds; retries, and second questions where an
        answer holds no verdict, come on top.
    """
    if job.options.critic is None:
        return Estimate()
    estimate = _estimate_families if job.options.ask == "families" else _estimate_portion
    costs = [estimate(job, trained.module, part, prices) for part in plan_round(job, trained)]
    return sum(costs * job.options.n_rounds, start=Estimate())


def plan_round(job: AlignmentJob, trained: Trained) -> list[Explained]:
    """Return about what the first round would critique, without asking anybody.

    In adaptive sampling these are the portions chosen so far and, instead of the others, as many images as explored.
    """
    run, module = job.run, trained.module
    choice = Choice(module, job.data, job.options, run, job.seed)
    drawn, key = choice.draw(trained.key, chosen_indices(()))
    first, *later = choice.sizes
    portions = [job.explain(module, drawn[:first], key)]
    for done, size in enumerate(later, start=1):
        key = run.key("sample", verdict_key(portions[-1], job.options, run), size)
        chosen = run.find("sample", key, Selection)
        if chosen is None:
            left = drawn[~torch.isin(drawn, torch.cat([part.indices for part in portions]))]
            portions.append(job.explain(module, left[: sum(later[done - 1 :])], run.key("unasked", key)))
            break
        portions.append(job.explain(module, chosen.indices, key))
    return portions


def _estimate_families(
    job: AlignmentJob, module: nn.Module, explained: Explained, prices: Prices | None
) -> Estimate:
    """Return what all questions would take if those that are left for later were like those on the first families."""
    options, run = job.options, job.run
    critic, judge = options.critic, options.judge
    assert critic is not None
    table = find_table(module, explained, job.data, run, options)
    asker, questions = first_questions(explained, table, job.data, options, run, job.seed % 2**32)
    said, judged = asker.kept()
    total, cycled = Estimate(), islice(cycle(questions), options.n_questions)
    for question in cycled:
        requests = asker.requests_of([question])
        total += estimate_critiques(critic, judge, requests, prices, said=said, judged=judged)
    return total


def _estimate_portion(
    job: AlignmentJob, module: nn.Module, explained: Explained, prices: Prices | None
) -> Estimate:
    total, run, options = Estimate(), job.run, job.options
    critic, judge = options.critic, options.judge
    assert critic is not None
    said = read_critiques(run.file("critiques", critique_key(explained, options, run), ".jsonl"))
    judged = (
        read_critiques(run.file("judged", verdict_key(explained, options, run), ".jsonl")) if judge else {}
    )
    for start in range(0, len(explained.indices), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(explained.indices)))
        requests = critique_requests(job.data, options, explained, positions)
        total += estimate_critiques(critic, judge, requests, prices, said=said, judged=judged)
    return total


def estimate_critiques(
    critic: Critic,
    judge: Judge | None,
    requests: Sequence[CritiqueRequest],
    prices: Prices | None = None,
    *,
    said: Mapping[str, Critique] | None = None,
    judged: Mapping[str, Critique] | None = None,
) -> Estimate:
    """Return about what critiques of some images would ask of the critic's and the judge's models.

    Parameters
    ----------
    critic, judge : Critic, Judge or None
        Who is asked.
    requests : sequence of CritiqueRequest
        The images and their segments.
    prices : Prices or None, default=None
        As in `estimate_job`.
    said, judged : mapping of str to Critique, default=None
        What was answered before, by image, and is not asked again.

    Returns
    -------
    Estimate
        As in `estimate_job`.
    """
    total, said, judged = Estimate(), said or {}, judged or {}
    requests = [request for request in requests if request.n_segments]
    if estimates_critiques(critic):
        pending = [request for request in requests if request.image_id not in said]
        total += critic.estimate_critiques(pending, prices)
    if estimates_judging(judge):
        unread = [request for request in requests if request.image_id not in judged]
        critiques = [said.get(r.image_id) or _longest_critique(critic, r) for r in unread]
        total += judge.estimate_judging(
            [critique for critique in critiques if not critique.verdicts],
            [r.n_segments for r, c in zip(unread, critiques, strict=True) if not c.verdicts],
            prices,
        )
    return total


def _longest_critique(critic: Critic, request: CritiqueRequest) -> Critique:
    if bounds_critiques(critic):
        return critic.longest_critique(request)
    return Critique(request.image_id, "x" * (BYTES_PER_TOKEN * _MOST_TOKENS))

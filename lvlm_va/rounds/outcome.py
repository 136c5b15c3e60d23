"""What alignment did to the critiqued images: what the classifier says of them now, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lvlm_va.common.distributed import on_first
from lvlm_va.modules.heads import outcome_probabilities
from lvlm_va.modules.logits import predict_logits
from lvlm_va.modules.preprocessed import Preprocessed, describe_preprocess
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.marks import KeptMarks
from lvlm_va.rounds.remarks import remarks_on
from lvlm_va.rounds.types import Aligned
from lvlm_va.runs.facts import version_facts
from lvlm_va.runs.shards import SHARD, sharded


@dataclass(frozen=True, eq=False)
class Outcome:
    """The critiqued images as the classifier sees them after alignment, and what it said of them before.

    Attributes
    ----------
    attributions : Tensor of shape (a, H, W), float32
        Attributions, after alignment, of the logits of the images' labels, in logits, summed over channels.
    probabilities_before, probabilities_after : Tensor of shape (a, n_classes), float32
        Class probabilities; of findings, those of the outcomes of each case's own finding, and 0 of all others.
    """

    attributions: Tensor
    probabilities_before: Tensor
    probabilities_after: Tensor


def find_outcome(job: AlignmentJob, aligned: Aligned) -> Outcome:
    """Return how the classifier sees the critiqued images, before and after alignment."""
    return join_outcomes([_of_cases(job, aligned, rows) for rows in aligned.indices.split(SHARD)])


def publish(job: AlignmentJob, aligned: Aligned, parameters: Mapping[str, Any]) -> None:
    """Leave in the run directory what a report needs besides the steps' results. All processes must call it.

    Parameters
    ----------
    job : AlignmentJob
        The job.
    aligned : Aligned
        What it found and made.
    parameters : mapping of str to JSON values
        The estimator's parameters.
    """
    run = job.run
    run.seconds = on_first(lambda: run.seconds)
    if run.path is None:
        return
    run.drop("outcome", "marks")
    marks = job.marks(aligned)
    names = [job.data.case_id(case) for case in marks.indices.tolist()]
    run.cached("marks", run.key(marks), KeptMarks, lambda: KeptMarks.of(marks, names))
    if aligned.rounds:
        key = run.key(aligned.latest.key, aligned.start.key, aligned.indices, job.options.explainer)
        sharded(
            run,
            "outcome",
            key,
            Outcome,
            aligned.indices,
            lambda rows: _of_cases(job, aligned, rows),
            join_outcomes,
            progress="explain the aligned net" if job.options.verbose else None,
        )
    net = aligned.latest.module
    before = describe_preprocess(net.preprocess) if isinstance(net, Preprocessed) else None
    restored = aligned.latest.key == aligned.start.key  # where alignment had made it worse
    more: dict[str, Any] = {
        "seconds": run.seconds_of_results(),
        "preprocess": before,
        "restored": restored,
        "findings": list(job.data.findings),
        "task": "multilabel"
        if job.data.multilabel
        else "binary"
        if job.options.explainer.sigmoid
        else "multiclass",
    }
    run.publish(**facts(job, aligned, parameters) | more)


def facts(job: AlignmentJob, aligned: Aligned, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a run besides its results, as JSON values; parameters as in `publish`."""
    propagated = aligned.propagated
    return {
        "seconds": job.run.seconds,
        "image_ids": tuple(map(job.data.case_id, aligned.indices.tolist())),
        "n_training_images": len(job.data.labels),
        "parameters": dict(parameters),
        "versions": version_facts(),
        "policy": asdict(job.options.policy),
        "remarks": remarks_on(aligned, job.options),
        "n_drawn_masks": 0 if aligned.drawn is None else len(aligned.drawn.indices),
        "trial": aligned.trial and aligned.trial.to_json(),
        "propagated": propagated
        and {"n_images": len(propagated.indices), "agreement": float(propagated.agreement)},
    }


def join_outcomes(parts: Sequence[Outcome]) -> Outcome:
    """Return the outcomes of several batches of images as one."""
    return Outcome(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Outcome)))


def _of_cases(job: AlignmentJob, aligned: Aligned, cases: Tensor) -> Outcome:
    data, batch_size = job.data, job.options.training.batch_size
    images, findings = data.images[data.rows_of(cases)], data.findings_of(cases)
    before, after = aligned.start.module, aligned.latest.module
    explanation = job.options.explainer.explain(after, images, data.outcomes_of(cases))
    said = [
        outcome_probabilities(predict_logits(module, images, batch_size=batch_size), findings).float()
        for module in (before, after)
    ]
    return Outcome(explanation.attributions.sum(1, dtype=torch.float64).float().cpu(), *said)

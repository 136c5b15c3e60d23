"""What a run directory would tell a person, of an estimator that kept none, or no images in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvlm_va.critique import VerdictPolicy
from lvlm_va.report.cost import read_costs
from lvlm_va.report.run_record import RunRecord
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.outcome import facts, find_outcome
from lvlm_va.rounds.shown import shown_images
from lvlm_va.rounds.types import Aligned


def record_of(job: AlignmentJob, aligned: Aligned, parameters: Mapping[str, Any]) -> RunRecord:
    """Return the record of a job whose training images are at hand.

    Parameters
    ----------
    job : AlignmentJob
        The job.
    aligned : Aligned
        What it found and made.
    parameters : mapping of str to JSON values
        The estimator's parameters.

    Returns
    -------
    RunRecord
        What a report shows.

    Raises
    ------
    ValueError
        If the images are not at hand.
    """
    if job.data.key_of_missing is not None:
        raise ValueError(
            "A report of a copy needs a run directory (run_dir): copies hold no images. Report from the estimator "
            "that was fitted."
        )
    masked, found = job.mask(aligned.rounds, aligned.drawn), facts(job, aligned, parameters)
    return RunRecord(
        class_names=job.data.class_names,
        indices=job.data.rows_of(aligned.indices).numpy(),
        images=shown_images(job.data, aligned.indices).images.numpy(),
        labels=masked.outcomes.numpy(),
        explanation=aligned.explanation,
        segmentation=aligned.segmentation,
        critiques=aligned.critiques,
        verdicts=aligned.verdicts,
        masks=masked.masks.numpy() > 0,
        outcome=find_outcome(job, aligned),
        costs=() if job.run.path is None else read_costs(job.run.path / "exchanges.jsonl"),
        **found | {"policy": VerdictPolicy(**found["policy"]), "trial": aligned.trial},
    )

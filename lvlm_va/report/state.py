"""Where a run stands, as a notebook shows it below the estimator."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lvlm_va.alignment.checkpoint import read_progress
from lvlm_va.common.files import UnreadableFileError
from lvlm_va.common.html import html_table
from lvlm_va.metrics import PairedAccuracy
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.types import Aligned

# Stage of a run directory -> its files, and what they say is done.
_STAGES = {
    "trained": "train-*.safetensors",
    "images chosen": "sample-*.npz",
    "explained": "explain-*.npz",
    "cut into segments": "segment-*.npz",
    "critiqued": "critiques-*.jsonl",
    "verdicts": "verdicts-*.json",
    "verdicts extended": "propagate-*.npz",
    "aligned": "align-*.safetensors",
    "finished": "latest.json",
}


def state_of_fit(
    job: AlignmentJob, aligned: Aligned | None, remarks: Sequence[str], seconds: Mapping[str, float]
) -> str:
    """Return as HTML what a fit did and found.

    Parameters
    ----------
    job : AlignmentJob
        The job, whose images may be gone.
    aligned : Aligned or None
        What came of it; None where the classifier was only trained.
    remarks : sequence of str
        What must be known of that.
    seconds : mapping of str to float
        What each stage took.

    Returns
    -------
    str
        A table, and the remarks.
    """
    rows = [("trained on", f"{len(job.data.labels)} images: {', '.join(job.data.class_names)}")]
    if aligned is not None:
        rows += _found(aligned)
    rows.append(
        ("took", ", ".join(f"{stage} {spent:.1f} s" for stage, spent in seconds.items()) or "nothing")
    )
    if job.run.path is not None:
        rows.append(("kept in", str(job.run.path)))
    told = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return html_table("Fitted", ("what", "result"), rows) + (f"<ul>{told}</ul>" if told else "")


def state_of_folder(run_dir: str | os.PathLike[str]) -> str:
    """Return as HTML how far a run directory has come; nothing without one.

    Parameters
    ----------
    run_dir : path-like
        The run directory.

    Returns
    -------
    str
        A table with a row for each stage that has left something.
    """
    folder = Path(run_dir).expanduser()
    rows = []
    for stage, pattern in _STAGES.items():
        files = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
        if files:
            rows.append((stage, _how_far(files[-1])))
    return (
        html_table(f"Run directory {folder}: fit goes on from here", ("stage", "done"), rows) if rows else ""
    )


def _how_far(file: Path) -> str:
    if file.suffix == ".safetensors":
        try:
            return "{} of {} epochs".format(*read_progress(file))
        except UnreadableFileError:
            return "damaged"
    if file.suffix == ".jsonl":
        return f"{len(file.read_bytes().splitlines())} images"
    return "yes"


def _found(aligned: Aligned) -> Iterator[tuple[str, Any]]:
    if aligned.rounds:
        counts = ", ".join(f"{n} {verdict}" for verdict, n in aligned.verdicts.counts().items())
        yield "critiqued", f"{len(aligned.indices)} images; segments: {counts}"
        yield (
            "share of the effect judged spurious",
            ", ".join(f"{share:.0%}" for share in aligned.spurious_share),
        )
    if aligned.propagated is not None:
        yield "verdicts extended", f"to {len(aligned.propagated.indices)} images in all"
    if aligned.drawn is not None:
        yield "drawn masks", f"of {len(aligned.drawn.indices)} images"
    compared = aligned.comparison
    if compared is not None:
        yield "right, before and after", _change(compared.accuracy)
        if compared.trial is not None:
            yield "right with spurious pixels of other classes", _change(compared.trial.right)
    if aligned.latest is aligned.start:
        yield "aligned", "no"


def _change(right: PairedAccuracy) -> str:
    return f"{right.before} and {right.after} of {right.n}"

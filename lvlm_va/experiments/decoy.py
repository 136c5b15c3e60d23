"""Decoy-MNIST and its like: how much of the gain from true masks a few critiqued images recover."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lvlm_va.experiments.methods import erm, lvlm_va, rival
from lvlm_va.experiments.table import Comparison, Results, run_comparison
from lvlm_va.experiments.tasks import Task
from lvlm_va.report.measures import MEASURES


@dataclass(frozen=True)
class CritiqueSettings:
    """Which images are critiqued, and by whom.

    `critic` and `verdict_accuracy` (of true masks) are as in `critic_maker`; `propagate` is the number of images to
    which verdicts are extended, 0 for none; the rest is as in `LVLMVAClassifier`.
    """

    critic: str = "oracle"
    sampler: str = "low_entropy"
    n_align: int = 300
    propagate: int = 0
    verdict_accuracy: float = 1.0


MNIST = CritiqueSettings()
DIGITS = CritiqueSettings(critic="tiny", sampler="random", n_align=150)


def run_decoy(
    name: str,
    task: Task,
    critiques: CritiqueSettings,
    *,
    seeds: int,
    out: str | os.PathLike[str],
    echo: Callable[[str], Any],
    command: str = "",
) -> Results:
    """Compare a net as it was trained, aligned, and aligned with the true masks of all training images.

    Parameters
    ----------
    name : str
        The data set's.
    task : Task
        Data set, net and training; the numbers of images are those of `critiques`.
    critiques : CritiqueSettings
        How the net is aligned.
    seeds, out, echo, command
        As in `run_comparison`. The folder gets a run directory for each seed besides.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for this data set and ``unaligned``, ``aligned`` and ``ground_truth`` one mapping
        per seed, of measures to values.
    """
    aligned = lvlm_va(
        critic=critiques.critic,
        verdict_accuracy=critiques.verdict_accuracy,
        propagate=True,
        runs=Path(out).expanduser(),
        sampler=critiques.sampler,
    )
    methods = {"unaligned": erm, "aligned": aligned, "ground_truth": rival("ground_truth_rrr")}
    comparison = Comparison(methods, columns=MEASURES, settings=asdict(critiques))
    task = replace(task, n_align=critiques.n_align, propagate=critiques.propagate, own_references=True)
    return run_comparison(comparison, {name: task}, seeds=seeds, out=out, echo=echo, command=command)

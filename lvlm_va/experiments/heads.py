"""Heads: tagged radiographs told by two logits, by one, and as one of two findings of which only it has the tag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.files import write_json
from lvlm_va.critique import OracleCritic
from lvlm_va.datasets import DecoyData
from lvlm_va.datasets.idx import Split
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.methods import estimator_parameters
from lvlm_va.experiments.tasks import Task, make_tasks
from lvlm_va.metrics import group_accuracies

FINDINGS = ("arthritis", "effusion")
HEADS = ("two_logits", "one_logit", "two_findings")
_TASKS = dict(zip(HEADS, ("multiclass", "binary", "multilabel"), strict=True))
_SPLITS: tuple[Split, ...] = ("train", "test")

Figures = dict[str, float]


def with_effusion(data: DecoyData, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the images with a soft bright swelling above the joint, and whether it is one: half of them, at random.

    How bright it is varies and overlaps between those with and without; neither arthritis nor the tag tells of it.
    """
    rng = np.random.default_rng([seed, len(data.images)])
    n, size = len(data.images), data.images.shape[-1]
    present = rng.permutation(np.arange(n) % 2)
    strength = (0.12 + 0.05 * (2 * present - 1) + 0.04 * rng.standard_normal(n)).clip(0)
    places = (np.arange(size) + 0.5) / size
    x, y = rng.normal((0.5, 0.26), 0.02, (n, 2)).T[..., None, None]
    distance = np.square(places[None, None] - x) + np.square(places[None, :, None] - y)
    swelling = strength[:, None, None] * np.exp(-distance / (2 * 0.09**2))
    return (data.images + swelling[:, None]).clip(0, 1).astype(np.float32), present


def run_heads(
    *, quick: bool, seeds: int, out: Path, echo: Callable[[str], Any], command: str = ""
) -> dict[str, list[Figures]]:
    """Align the same images under each head by true masks, and measure both findings on the test images.

    Parameters
    ----------
    quick : bool
        Fewer and smaller images.
    seeds : int
        How many, from 0.
    out : Path
        Folder for ``metrics.json`` and a run directory for each head and seed.
    echo : callable
        Gets each line of text.
    command : str, default=""
        What made the figures, for the file.

    Returns
    -------
    dict of str to list of dict
        For each head and seed, ``worst_group_before`` and ``worst_group_after`` of arthritis by its tag, and of two
        findings the accuracy of ``effusion_before`` and ``effusion_after``.
    """
    task = make_tasks(quick=quick, mnist=None, fashion=None)["tagged-radiographs"]
    found: dict[str, list[Figures]] = {head: [] for head in HEADS}
    for seed in range(seeds):
        drawn = {split: task.load(split, seed) for split in _SPLITS}
        for head in HEADS:
            found[head].append(_run(head, task, drawn, seed, out / f"{head}-{seed}"))
            figures = ", ".join(f"{name} {value:.3f}" for name, value in found[head][-1].items())
            echo(f"seed {seed}, {head}: {figures}")
            write_json(out / "metrics.json", {"command": command, "heads": found})
    for head, rows in found.items():
        gains = [row["worst_group_after"] - row["worst_group_before"] for row in rows]
        echo(f"{head}: worst group {np.mean(gains):+.3f} on average of {seeds} seed{'s' * (seeds > 1)}")
    return found


def _run(head: str, task: Task, drawn: dict[Split, DecoyData], seed: int, folder: Path) -> Figures:
    several = head == "two_findings"
    # All heads see the same images, so that only the head differs.
    images = {split: with_effusion(data, seed) for split, data in drawn.items()}
    labels = {
        split: np.stack([data.labels, images[split][1]], 1) if several else data.labels
        for split, data in drawn.items()
    }
    parameters = estimator_parameters(task)
    parameters["n_align"] *= 1 + several  # as many of each finding
    clf = LVLMVAClassifier(
        **parameters,
        task=_TASKS[head],
        classes=FINDINGS if several else None,
        critic=OracleCritic(drawn["train"].masks),
        run_dir=folder,
        random_state=seed,
    )
    clf.fit(images["train"][0], labels["train"])
    aligned, figures = clf.module_, {}
    for when, module in (("before", clf.unaligned_module_), ("after", aligned)):
        clf.module_ = module
        said = clf.predict(images["test"][0]).reshape(len(labels["test"]), -1)
        of_groups = group_accuracies(drawn["test"].labels, said[:, 0], groups=drawn["test"].groups)
        figures[f"worst_group_{when}"] = of_groups.worst
        if several:
            figures[f"effusion_{when}"] = float((said[:, 1] == images["test"][1]).mean())
    return figures

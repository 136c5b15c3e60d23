"""Heads: one net that tells tagged radiographs by two logits, by one, and as one of two findings, aligned as each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lvlm_va.common.files import write_json
from lvlm_va.critique import OracleCritic
from lvlm_va.datasets import DecoyData
from lvlm_va.datasets.idx import Split
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.methods import estimator_parameters
from lvlm_va.experiments.tasks import Task, make_tasks
from lvlm_va.metrics import group_accuracies

FINDINGS = ("arthritis", "effusion")
# The logits of each head, as rows of factors of the trained net's two, which are its findings'.
HEADS = {
    "two_logits": [[-0.5, 0.0], [0.5, 0.0]],
    "one_logit": [[1.0, 0.0]],
    "two_findings": [[1.0, 0.0], [0.0, 1.0]],
}
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


def with_head(module: nn.Module, factors: list[list[float]]) -> nn.Module:
    """Return a copy of a net that ends in a linear layer, with these combinations of its logits as its logits."""
    changed = copy.deepcopy(module)
    name, last = [(name, layer) for name, layer in changed.named_modules() if isinstance(layer, nn.Linear)][
        -1
    ]
    rows = torch.tensor(factors, dtype=last.weight.dtype, device=last.weight.device)
    head = nn.Linear(last.in_features, len(rows)).to(last.weight)
    with torch.no_grad():
        head.weight.copy_(rows @ last.weight)
        head.bias.copy_(rows @ last.bias)
    changed.set_submodule(name, head)
    return changed


def run_heads(
    *, quick: bool, seeds: int, out: Path, echo: Callable[[str], Any], command: str = ""
) -> dict[str, list[Figures]]:
    """Align one trained net under each head by true masks, and measure both findings on the test images.

    The net learns both findings plainly, as two findings. Each head then begins with its weights and says the same of
    arthritis, and is aligned with masks of the same images; the findings' head with as many of effusion, too.

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
        # All heads see the same images, so that only the head differs.
        images = {split: with_effusion(data, seed) for split, data in drawn.items()}
        start = _train(task, drawn["train"], *images["train"], seed, out / f"start-{seed}")
        for head in HEADS:
            found[head].append(_align(head, start, task, drawn, images, seed, out / f"{head}-{seed}"))
            figures = ", ".join(f"{name} {value:.3f}" for name, value in found[head][-1].items())
            echo(f"seed {seed}, {head}: {figures}")
            write_json(out / "metrics.json", {"command": command, "heads": found})
    gains = {
        head: np.array([row["worst_group_after"] - row["worst_group_before"] for row in rows])
        for head, rows in found.items()
    }
    for head, gain in gains.items():
        echo(f"{head}: worst group {_mean(gain)} on average of {seeds} seed{'s' * (seeds > 1)}")
        if head != "two_logits":
            echo(f"{head} less two_logits, seed by seed: {_mean(gain - gains['two_logits'])}")
    return found


def _mean(values: NDArray[np.float64]) -> str:
    error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{values.mean():+.3f}{error}"


def _train(
    task: Task,
    data: DecoyData,
    images: NDArray[np.float32],
    effusion: NDArray[np.int64],
    seed: int,
    folder: Path,
) -> nn.Module:
    plain = LVLMVAClassifier(
        **estimator_parameters(task), classes=FINDINGS, run_dir=folder, random_state=seed
    )
    plain.fit(images, np.stack([data.labels, effusion], 1))
    module: nn.Module = plain.module_
    return module


def _align(
    head: str,
    start: nn.Module,
    task: Task,
    drawn: dict[Split, DecoyData],
    images: dict[Split, tuple[NDArray[np.float32], NDArray[np.int64]]],
    seed: int,
    folder: Path,
) -> Figures:
    several = head == "two_findings"
    labels = {
        split: np.stack([data.labels, images[split][1]], 1) if several else data.labels
        for split, data in drawn.items()
    }
    parameters = estimator_parameters(task) | {"module": with_head(start, HEADS[head]), "epochs": 0}
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

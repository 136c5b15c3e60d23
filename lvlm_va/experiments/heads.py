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
# Test images are drawn so often anew: of 100 in each group, the worst differs by points from chance alone.
TESTS = 10

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


def _draw(task: Task, split: Split, seed: int) -> tuple[DecoyData, NDArray[np.float32], NDArray[np.int64]]:
    """Return the images of a task without effusion, with it, and whether there is one."""
    data = task.load(split, seed)
    return data, *with_effusion(data, seed)


def with_head(module: nn.Module, factors: list[list[float]]) -> nn.Module:
    """Return a copy of a net that ends in a linear layer, with these combinations of its logits as its logits."""
    changed = copy.deepcopy(module)
    *_, (name, last) = [pair for pair in changed.named_modules() if isinstance(pair[1], nn.Linear)]
    rows = torch.tensor(factors, dtype=last.weight.dtype, device=last.weight.device)
    head = nn.utils.skip_init(nn.Linear, last.in_features, len(rows)).to(last.weight)
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
        # All heads see the same images, so that only the head differs.
        data, images, effusion = _draw(task, "train", seed)
        tests = [_draw(task, "test", seed + 1000 * number) for number in range(TESTS)]
        plain = LVLMVAClassifier(
            **estimator_parameters(task), classes=FINDINGS, run_dir=out / f"start-{seed}", random_state=seed
        )
        plain.fit(images, np.stack([data.labels, effusion], 1))
        for head in HEADS:
            several = head == "two_findings"
            parameters = estimator_parameters(task) | {"module": with_head(plain.module_, HEADS[head])}
            parameters |= {"epochs": 0, "n_align": (1 + several) * task.n_align}  # as many of each finding
            aligned = LVLMVAClassifier(
                **parameters,
                task=_TASKS[head],
                classes=FINDINGS if several else None,
                critic=OracleCritic(data.masks),
                run_dir=out / f"{head}-{seed}",
                random_state=seed,
            )
            aligned.fit(images, np.stack([data.labels, effusion], 1) if several else data.labels)
            found[head].append(_measure(aligned, tests))
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


def _measure(
    clf: LVLMVAClassifier, tests: list[tuple[DecoyData, NDArray[np.float32], NDArray[np.int64]]]
) -> Figures:
    """Return how right a classifier is before and after alignment, on all test images together."""
    figures, aligned = {}, clf.module_
    arthritis = np.concatenate([data.labels for data, _, _ in tests])
    groups = np.concatenate([data.groups for data, _, _ in tests])
    effusion = np.concatenate([present for _, _, present in tests])
    for when, module in (("before", clf.unaligned_module_), ("after", aligned)):
        clf.module_ = module
        said = np.concatenate([clf.predict(images) for _, images, _ in tests]).reshape(len(arthritis), -1)
        figures[f"worst_group_{when}"] = group_accuracies(arthritis, said[:, 0], groups=groups).worst
        if said.shape[1] > 1:
            figures[f"effusion_{when}"] = float((said[:, 1] == effusion).mean())
    return figures

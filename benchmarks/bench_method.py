"""The whole method after training on Decoy-MNIST, against the same stages written with the peers.

Without MNIST's files (``--data-dir`` or the variable LVLM_VA_MNIST) scikit-learn's digits with the same decoy are used.
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch

from benchmarks import method_peer
from benchmarks.compare import Compare
from benchmarks.method_peer import Outcome, Task
from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.datasets import DecoyData
from lvlm_va.experiments import tasks
from lvlm_va.experiments.methods import estimator_parameters

pytestmark = pytest.mark.filterwarnings("ignore")

N_ALIGN, STRENGTH, SEED = 300, 3e-3, 0

# What both sides' accuracies on test images may differ by: their batches are drawn in another order.
ACCURACY = 0.03
# Least share of masked pixels (of either side) that both mask: rounding may move a pixel on a border.
AGREEMENT = 0.98


def choose(data_dir: str | None) -> tuple[tasks.Task, str]:
    """Return the data set and its name."""
    if data_dir is None:
        return tasks.DECOY_DIGITS, "scikit-learn's digits with Ross's decoy"
    return tasks.decoy_mnist_task(data_dir), "Decoy-MNIST"


def estimator(
    module: Any, data: DecoyData, data_set: tasks.Task, critic: Any, **changes: Any
) -> LVLMVAClassifier:
    parameters = estimator_parameters(data_set) | {
        "module": module,
        "critic": critic,
        "sampler": "random",
        "n_align": N_ALIGN,
        "rrr_strength": STRENGTH,
        "random_state": SEED,
    }
    return LVLMVAClassifier(**(parameters | changes)).fit(data.images, data.labels)


def ours(module: Any, data: DecoyData, data_set: tasks.Task) -> tuple[LVLMVAClassifier, Outcome]:
    fitted = estimator(module, data, data_set, OracleCritic(data.masks), epochs=0)
    return fitted, Outcome(fitted.module_, torch.from_numpy(fitted.masks_).float(), fitted.seconds_)


def accuracy(module: Any, data: DecoyData) -> float:
    with torch.no_grad():
        predictions = module(torch.from_numpy(data.images)).argmax(1)
    return float((predictions == torch.from_numpy(data.labels)).double().mean())


def agreement(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the share of the pixels in either mask that lie in both."""
    one, other = one > 0, other > 0
    return float((one & other).sum() / (one | other).sum())


def test_method_end_to_end(compare: Compare, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("captum")
    pytest.importorskip("pomegranate")
    data_set, name = choose(request.config.getoption("--data-dir"))
    data, test = data_set.load("train", 0), data_set.load("test", 0)
    module = estimator("mlp", data, data_set, None).module_
    before = accuracy(module, test)
    fitted, mine = ours(module, data, data_set)
    task = Task(
        module,
        torch.from_numpy(data.images),
        torch.from_numpy(data.labels),
        torch.from_numpy(data.masks),
        torch.from_numpy(fitted.alignment_set_),
        fitted.references_.shared,
        data_set.settings.align_epochs,
        data_set.settings.batch_size,
        data_set.settings.lr,
        STRENGTH,
        fitted.job_.seed,  # what the estimator made of SEED
    )
    theirs = method_peer.run(task)
    after = [accuracy(outcome.module, test) for outcome in (mine, theirs)]
    common = agreement(mine.masks, theirs.masks)
    assert mine.masks.any(), "no segment was judged spurious"
    assert abs(after[0] - after[1]) <= ACCURACY, f"accuracies on test images: {after}"
    assert common >= AGREEMENT, f"only {common:.1%} of the masked pixels are common"

    runs: dict[str, list[Outcome]] = {"ours": [], "peer": []}
    compare(
        lambda: runs["ours"].append(ours(module, data, data_set)[1]),
        lambda: runs["peer"].append(method_peer.run(task)),
        rounds=2,
    )
    stages = {
        side: {
            stage: statistics.median(outcome.seconds[stage] for outcome in outcomes)
            for stage in outcomes[0].seconds
        }
        for side, outcomes in runs.items()
        if outcomes
    }
    shown = "; ".join(
        f"{side} " + ", ".join(f"{stage} {value:.2g}" for stage, value in parts.items())
        for side, parts in stages.items()
    )
    compare.add_note(
        f"{name}, {N_ALIGN} images; test accuracy {before:.3f} before, {after[0]:.3f} ours, {after[1]:.3f} peer; "
        f"{common:.1%} of masked pixels common; the peer is given the chosen images; seconds: {shown}",
        stages=stages,
    )

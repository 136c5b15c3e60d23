"""Training in two processes against training in one: the same curves and weights, up to rounding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvlm_va.alignment import TrainingOptions, WorstGroupWeighting, train
from lvlm_va.common.distributed import rank
from tests.alignment.nets import alignment_set, data, seeded
from tests.distributed.team import Team
from tests.tolerances import PROCESSES

NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ),
    "channels last": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GELU(), nn.Conv2d(4, 6, 2), nn.Flatten(), nn.Linear(6, 3)
    ).to(memory_format=torch.channels_last),
    "dropout": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3)
    ),
    "unused parameter": lambda: Spare(),
}


class Spare(nn.Module):
    """Has a parameter that the logits do not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.spare = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images)


def points(module: nn.Module) -> Tensor:
    return module(data(6, 4, torch.float64)[0]).softmax(1)[:, 0].detach()


CASES: dict[str, dict[str, Any]] = {
    "plain, cnn": {"net": "cnn", "batch_size": 7},
    "plain, channels last": {"net": "channels last", "batch_size": 6},
    "plain, a process without rows": {"net": "mlp", "batch_size": 1, "optimizer": "sgd"},
    "plain, batch norm": {"net": "batch norm", "batch_size": 7, "validation_fraction": 0.2},
    "plain, unused parameter": {"net": "unused parameter", "batch_size": 6, "optimizer": "adamw"},
    "plain, stopped early": {"net": "mlp", "validation_fraction": 0.3, "patience": 1, "lr": 0.1},
    "weighting": {"net": "cnn", "batch_size": 5, "weighting": True},
    "aligned, mlp": {"net": "mlp", "batch_size": 7, "aligned": 5, "rrr_strength": 0.01, "l2": 1e-3},
    "aligned, mlp, auto": {"net": "mlp", "batch_size": 5, "aligned": 7},
    "aligned, cnn": {"net": "cnn", "batch_size": 6, "aligned": 5, "rrr_strength": 0.01},
    "aligned, cnn, auto": {"net": "cnn", "batch_size": 9, "aligned": 7, "schedule": "cosine"},
    "aligned, one of either kind": {"net": "cnn", "batch_size": 2, "aligned": 4},
    "aligned alone, points": {"net": "mlp", "batch_size": 3, "aligned": 7, "align_fraction": 1, "points": points},
    "aligned, batch norm": {"net": "batch norm", "batch_size": 8, "aligned": 5},
    "aligned, accumulated": {"net": "cnn", "batch_size": 11, "aligned": 7, "accumulation_steps": 3},
    "aligned, accumulated, fixed": {
        "net": "mlp", "batch_size": 11, "aligned": 7, "accumulation_steps": 3, "rrr_strength": 0.01,
    },
}  # fmt: skip


def trained(asked: dict[str, Any], **more: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return the curves, and the weights and buffers, of one run."""
    asked = dict(asked)
    net = seeded(rank(), NETS[asked.pop("net")]).double()  # the first process' weights must count
    images, labels = data(23, dtype=torch.float64)
    more["points"] = asked.pop("points", None)
    n_aligned = asked.pop("aligned", 0)
    if n_aligned:
        more["alignment_set"] = alignment_set(n_aligned, dtype=torch.float64)
    if asked.pop("weighting", False):
        more["weighting"] = WorstGroupWeighting(torch.arange(23) % 3, step_size=0.5)
    options = TrainingOptions(**{"epochs": 4, "lr": 0.01, "batch_size": 8} | asked)
    result = train(net, images, labels, options, seed=3, **more)
    curves = dataclasses.asdict(result.history)
    return curves, [value.numpy() for value in result.module.state_dict().values()]


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any], rtol: float = 0, atol: float = 0) -> None:
    curves, weights = zip(one, other, strict=True)
    for name in curves[0].keys() - {"seconds"}:
        np.testing.assert_allclose(curves[0][name], curves[1][name], rtol, atol, err_msg=name)
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, rtol, atol)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(team: Team, case: str) -> None:
    first, second = team.run(trained, CASES[case])
    assert_same(first, second)
    assert first[0]["seconds"] == second[0]["seconds"]
    assert_same(first, trained(CASES[case]), **PROCESSES)


def dropout_masks() -> np.ndarray:
    net = nn.Sequential(nn.Flatten(), Noting())
    train(nn.Sequential(net, nn.Linear(16, 3)), *data(8), TrainingOptions(epochs=1), seed=0)
    return Noting.seen[-1]


class Noting(nn.Dropout):
    """Remembers what was dropped."""

    seen: list[np.ndarray] = []  # noqa: RUF012

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        self.seen.append((out == 0).numpy())
        return out


def test_processes_drop_out_apart(team: Team) -> None:
    first, second = team.run(dropout_masks)
    assert first.shape == second.shape == (4, 16)
    assert not np.array_equal(first, second)


def own_labels() -> None:
    images, labels = data(8)
    train(NETS["mlp"](), images, labels.roll(rank()), seed=0)


def too_few_rows() -> None:
    train(NETS["batch norm"](), *data(8), TrainingOptions(batch_size=1), seed=0)


def diverging() -> None:
    train(NETS["mlp"](), *data(8), TrainingOptions(lr=1e30, optimizer="sgd"), seed=0)


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (own_labels, ValueError, "All processes must get the same images and labels"),
        (too_few_rows, ValueError, "'batch_size' argument must give each process a row"),
        (diverging, FloatingPointError, "diverged"),
    ],
)
def test_errors_end_all_processes_alike(
    team: Team, function: Callable[[], None], kind: type[Exception], message: str
) -> None:
    for error in team.run(function):
        assert isinstance(error, kind)
        assert message in str(error)

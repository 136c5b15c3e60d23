"""The estimator and the command line in two processes, against one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import lvlm_va
from lvlm_va import LVLMVAClassifier, RegionCritic, VerdictTable
from lvlm_va.common.distributed import world_size
from lvlm_va.critique import Critique, CritiqueRequest
from lvlm_va.propagation import learner
from tests.distributed.team import TIMEOUT, Team
from tests.tolerances import PROCESSES


class Counting(RegionCritic):
    """Tells how many images it was asked about in this process."""

    asked = 0

    def critique(self, requests: list[CritiqueRequest]) -> list[Critique]:
        type(self).asked += len(requests)
        return super().critique(requests)


def fitted(run_dir: Path | None, **changes: Any) -> dict[str, Any]:
    """Return what an estimator knows after fit, report and realign."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.uniform(0, 0.3, (60, 1, 8, 8))
    X[y == 0, :, :, :4] += 0.6
    X[y == 1, :, :, 4:] += 0.6
    Counting.asked = 0
    parameters = {
        "n_align": 10,
        "epochs": 3,
        "align_epochs": 2,
        "batch_size": 16,
        "random_state": 0,
    } | changes
    critic = Counting({"irrelevant": ["top"]})
    clf = LVLMVAClassifier(critic=critic, run_dir=run_dir, **parameters).fit(X, y)
    first = {name: value.numpy() for name, value in clf.module_.state_dict().items()}
    edits = [replace(verdict, verdict="relevant") for verdict in clf.verdicts_.verdicts[:5]]
    clf.realign(clf.verdicts_.replace(edits))
    return {
        "first": first,
        "module": {name: value.numpy() for name, value in clf.module_.state_dict().items()},
        "masks": clf.masks_,
        "verdicts": clf.verdicts_,
        "shares": clf.spurious_share_,
        "seconds": clf.seconds_,
        "proba": clf.predict_proba(X),
        "asked": Counting.asked,
        "summary": str(clf.behaviour_summary()),
        "report": clf.report(f"{run_dir}.html").stat().st_size if world_size() > 1 and run_dir else None,
    }


def _assert_same(one: dict[str, Any], other: dict[str, Any], rtol: float = 0, atol: float = 0) -> None:
    for name in ("first", "module"):
        for key, value in one[name].items():
            np.testing.assert_allclose(value, other[name][key], rtol, atol)
    np.testing.assert_array_equal(one["masks"], other["masks"])
    np.testing.assert_allclose(one["proba"], other["proba"], rtol, atol)
    assert one["verdicts"] == other["verdicts"]
    assert one["shares"] == pytest.approx(other["shares"], rel=rtol, abs=atol)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_rounds": 2, "round_tolerance": 0, "early_stopping": True},
        {"propagate": 40, "sampler": "adaptive", "accumulation_steps": 2, "random_state": 1},
    ],
    ids=["rounds and early stopping", "adaptive and propagated"],
)
def test_processes_fit_as_one(
    team: Team, tmp_path: Path, changes: dict[str, Any], usual_trees: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "N_TREES", usual_trees)  # as in the processes
    first, second = team.run(fitted_with, tmp_path / "two", changes)
    _assert_same(first, second)
    assert first["seconds"] == second["seconds"]
    assert first["report"] == second["report"] > 1000
    assert second["asked"] == 0
    one = fitted(tmp_path / "one", **changes)
    assert first["asked"] == one["asked"] > 0
    _assert_same(first, one, **PROCESSES)


def fitted_with(run_dir: Path | None, changes: dict[str, Any]) -> dict[str, Any]:
    return fitted(run_dir, **changes)


def test_without_a_seed_or_a_run_directory_all_draw_the_same(team: Team) -> None:
    first, second = team.run(fitted_with, None, {"random_state": None})
    _assert_same(first, second)


def fit_on_one_gpu() -> None:
    LVLMVAClassifier(device="cuda:0").fit(np.zeros((4, 1, 2, 2)), [0, 1, 0, 1])


def test_one_gpu_for_all_is_refused(team: Team) -> None:
    for error in team.run(fit_on_one_gpu):
        assert "'device' argument must be 'auto', 'cuda' or 'cpu' where several" in str(error)


def test_torchrun_aligns_as_one_process_does(align, scans: Path, tmp_path: Path) -> None:
    options = ("--irrelevant", "corners", "--propagate", 20)
    assert align(tmp_path / "one", *options).returncode == 0
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "lvlm_va", "align", scans, "--module", "mynets:make_net", "--image-size", "16", "16", "--grey",
            "--n-align", "12", "--epochs", "3", "--align-epochs", "2", "--out", tmp_path / "two", *map(str, options),
        ],
        cwd=scans,
        env=os.environ | {"PYTHONPATH": str(Path(lvlm_va.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Aligned weights:") == 1
    one, two = (load_file(tmp_path / name / "aligned.safetensors") for name in ("one", "two"))
    for name, value in one.items():  # in float32
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-5)
    for pattern in ("verdicts-*.json", "train-*.safetensors"):
        assert [path.name for path in (tmp_path / "one").glob(pattern)] == [
            path.name for path in (tmp_path / "two").glob(pattern)
        ]
    tables = [VerdictTable.load(next((tmp_path / name).glob("verdicts-*.json"))) for name in ("one", "two")]
    assert tables[0] == tables[1]
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert metrics[0]["verdicts"] == metrics[1]["verdicts"]

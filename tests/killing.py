"""A fit that dies by a signal just before its n-th step that leaves a trace in the run directory."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openai.resources.chat  # noqa: F401 (loaded once, before processes are forked from this one)
import torch
import torch._dynamo
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from lvlm_va import LVLMVAClassifier
from lvlm_va.critique import LVLMCritic, RegionRenderer
from lvlm_va.propagation import Propagation, learner
from lvlm_va.report import read_run
from lvlm_va.runs import shards
from lvlm_va.segmentation import PPEPSWGM

_STEPS = {"os.rename": 1, "open": 0, "shutil.rmtree": 0}  # where in the event's arguments the path is


def fit(
    run_dir: Path,
    url: str,
    outcome: Path,
    kill_at: int | None = None,
    n_rounds: int = 1,
    by: int = signal.SIGKILL,
) -> None:
    """Fit, leave the result in the folder `outcome`, and the names of all steps; or die at one of them."""
    shards.SHARD = 5
    learner.N_TREES = 20
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # so few trees leave some verdicts out of no bag
    steps: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STEPS and (step := _name(event, arguments, run_dir)):
            steps.append(step)
            if len(steps) - 1 == kill_at:
                os.kill(os.getpid(), by)

    sys.addaudithook(watch)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.uniform(0, 0.3, (60, 1, 8, 8))
    X[y == 0, :, :, :4] += 0.6
    clf = LVLMVAClassifier(
        "mlp",
        critic=LVLMCritic(f"{url}#critic", renderer=RegionRenderer(size=64)),
        sampler="adaptive",
        n_align=11,
        n_references=4,
        segmenter=PPEPSWGM(n_segments=2),
        propagate=Propagation(LogisticRegression(), n_images=20),
        n_rounds=n_rounds,
        round_tolerance=0,
        epochs=3,
        align_epochs=2,
        batch_size=16,
        run_dir=run_dir,
        random_state=0,
    ).fit(X, y)
    outcome.mkdir()
    (outcome / "steps.json").write_text(json.dumps(steps))
    clf.verdicts_.save(outcome / "verdicts.json")
    assert read_run(run_dir).verdicts == clf.verdicts_
    arrays = {"masks": clf.masks_, "attributions": clf.explanation_.attributions.numpy()}
    arrays |= {"segments": clf.segments_.labels.numpy(), "propagated": clf.propagated_.masks.numpy()}
    weights = {f"after.{k}": v for k, v in clf.module_.state_dict().items()}
    weights |= {f"before.{k}": v for k, v in clf.unaligned_module_.state_dict().items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_file({k: v.contiguous() for k, v in (tensors | weights).items()}, outcome / "tensors.safetensors")


def _name(event: str, arguments: tuple[Any, ...], run_dir: Path) -> str | None:
    """Return the stage that a step belongs to and what kind of step it is; None for those that leave no trace."""
    path = arguments[_STEPS[event]]
    if not isinstance(path, str | os.PathLike) or run_dir not in (path := Path(path)).parents:
        return None
    if event == "open" and not (path.suffix == ".jsonl" and arguments[1] == "a+"):
        return None
    what = (
        "shard" if path.parent != run_dir else {"shutil.rmtree": "clean up", "open": "append"}.get(event, "")
    )
    stage = path.parent.name if what == "shard" else path.name
    return f"{re.sub(r'-[0-9a-f]{16}.*', '', stage)} {what}".strip()

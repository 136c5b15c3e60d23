from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lvlm_va.alignment import AlignmentSet, History, TrainingOptions, TrainingResult, train
from lvlm_va.alignment.checkpoint import read_checkpoint, read_progress, write_checkpoint
from tests.alignment.nets import alignment_set, assert_equal_states, batch_norm_net, data

OPTIONS = TrainingOptions(epochs=4, batch_size=8, lr=0.01)


class InterruptedRunError(Exception):
    pass


def _interrupt(after: int) -> object:
    def on_epoch(history: History) -> None:
        torch.rand(3)
        if len(history.loss) == after:
            raise InterruptedRunError

    return on_epoch


def _train(
    options: TrainingOptions, aligned: AlignmentSet | None, path: Path | None, **extra: object
) -> TrainingResult:
    images, labels = data(21)
    return train(
        batch_norm_net(),
        images,
        labels,
        options,
        alignment_set=aligned,
        seed=0,
        checkpoint_path=path,
        **extra,
    )


def _without_seconds(history: History) -> History:
    return dataclasses.replace(history, seconds=())


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "l2": 1e-3},
        {"optimizer": "adamw", "schedule": "step"},
        {"optimizer": "sgd", "schedule": "cosine"},
        {"optimizer": lambda p, lr: torch.optim.Adagrad(p, lr=lr)},
        {"rrr_strength": 0.01, "schedule": "linear"},
        {"validation_fraction": 0.2, "patience": 1, "epochs": 8},
        {"epochs": np.int64(3), "l2": np.float32(1e-4), "rrr_strength": np.float64(0.01)},
    ],
    ids=lambda changes: ", ".join(f"{k} {v if not callable(v) else 'callable'}" for k, v in changes.items()),
)
@pytest.mark.parametrize("aligned", [None, alignment_set(5)], ids=["plain", "aligned"])
def test_a_resumed_run_ends_as_an_unbroken_one(
    changes: dict[str, object], aligned: AlignmentSet | None, tmp_path: Path
) -> None:
    options = dataclasses.replace(OPTIONS, **changes)
    path = tmp_path / "deep" / "run.safetensors"
    unbroken = _train(options, aligned, None)
    with pytest.raises(InterruptedRunError):
        _train(options, aligned, path, on_epoch=_interrupt(2))
    resumed = _train(options, aligned, path)
    assert_equal_states(resumed.module, unbroken.module)
    assert _without_seconds(resumed.history) == _without_seconds(unbroken.history)
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]

    seen: list[History] = []
    finished = _train(options, aligned, path, on_epoch=seen.append)
    assert seen == [finished.history.until(n) for n in range(1, len(finished.history.loss) + 1)]
    assert_equal_states(finished.module, unbroken.module)
    assert finished.history == resumed.history


@pytest.mark.parametrize("what", ["options", "masks", "images"])
def test_refuses_the_checkpoint_of_another_run(what: str, tmp_path: Path) -> None:
    path, part = tmp_path / "run.safetensors", alignment_set(5)
    _train(dataclasses.replace(OPTIONS, epochs=1), part, path)
    options = dataclasses.replace(OPTIONS, epochs=1, lr=0.02 if what == "options" else OPTIONS.lr)
    other = AlignmentSet(
        part.images + (what == "images"), part.labels, 1 - part.masks if what == "masks" else part.masks
    )
    with pytest.raises(
        ValueError, match="a run of other options, seed, data or module. Remove it or name another"
    ):
        _train(options, other, path)


def test_refuses_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="'checkpoint_path'.*damaged"):
        _train(OPTIONS, None, path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="'checkpoint_path'.*of format None"):
        _train(OPTIONS, None, path)


def test_a_damaged_value_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    _train(OPTIONS, None, path)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    for place in (header + 3, len(whole) - 1, whole.index(b"cross_entropy") + 22):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="'checkpoint_path'.*damaged"):
            _train(OPTIONS, None, path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="'checkpoint_path'.*cannot be read .Is a directory"):
        _train(OPTIONS, None, path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_progress(path)


def test_divergence_is_said_and_the_last_good_weights_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"

    def explode(optimizer: torch.optim.Optimizer, _: int) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 3 else 1e38)

    options = TrainingOptions(epochs=3, batch_size=8, optimizer="sgd", schedule=explode)
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 2.*Lower lr.*after epoch 1 are kept in"):
        _train(options, None, path)
    kept = read_checkpoint(path)["module"]
    assert all(bool(value.isfinite().all()) for value in kept.values())


def test_tied_weights_are_kept(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 16, bias=False), nn.Tanh(), nn.Linear(16, 16, bias=False))
    net[3].weight = net[1].weight
    path, options = tmp_path / "run.safetensors", TrainingOptions(epochs=1)
    first = train(net, *data(9), options, seed=0, checkpoint_path=path).module
    again = train(net, *data(9), options, seed=0, checkpoint_path=path).module
    assert again[3].weight is again[1].weight
    assert_equal_states(first, again)


def test_states_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    content = {
        "numbers": {0: [1, 2.5, float("inf"), None, True], 1: (0.9, 0.999)},
        "tensors": [torch.arange(3), torch.tensor(0.1, dtype=torch.float64)[None].expand(4)],
        "empty": {},
    }
    write_checkpoint(path, content)
    found = read_checkpoint(path)
    assert found["numbers"] == content["numbers"]
    assert found["empty"] == {}
    for one, other in zip(found["tensors"], content["tensors"], strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype


def test_states_of_other_things_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'checkpoint_path'.*Got set in 'state.a.0'"):
        write_checkpoint(tmp_path / "state.safetensors", {"a": [{1}]})
    assert not list(tmp_path.iterdir())

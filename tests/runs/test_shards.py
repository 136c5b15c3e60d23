"""Work in shards: the same result in one piece, after a restart and on two processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from lvlm_va import RegionCritic
from lvlm_va.alignment import TrainingOptions
from lvlm_va.attribution import DeepLiftShap, Explainer, ReferenceSet
from lvlm_va.common.distributed import rank
from lvlm_va.critique import Critique, CritiqueRequest, VerdictTable
from lvlm_va.data.training_data import TrainingData
from lvlm_va.propagation import Propagation
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Aligned, Trained
from lvlm_va.runs import shards
from lvlm_va.runs.directory import RunDirectory, open_run
from lvlm_va.runs.shards import in_shards, sharded
from lvlm_va.sampling import resolve_sampler
from lvlm_va.segmentation import PPEPSWGM


@dataclass(frozen=True, eq=False)
class Squares:
    values: Tensor


def join(parts: Any) -> Squares:
    return Squares(torch.cat([part.values for part in parts]))


ROWS = torch.arange(10)


@pytest.mark.parametrize("kept", [False, True])
def test_results_come_in_order_whatever_the_size_of_a_shard(kept: bool, tmp_path: Path) -> None:
    for size in (1, 3, 10, 100):
        folder = tmp_path / str(size) if kept else None
        parts = list(in_shards(folder, Squares, ROWS, lambda rows: Squares(rows**2), size=size))
        assert [len(part.values) for part in parts][:-1] == [size] * (-(-10 // size) - 1)
        assert torch.equal(join(parts).values, ROWS**2)


def test_finished_shards_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 2)
    done: list[list[int]] = []

    def square(rows: Tensor) -> Squares:
        done.append(rows.tolist())
        if len(done) == 3:
            raise KeyboardInterrupt
        return Squares(rows**2)

    run = RunDirectory(tmp_path, {})
    key = run.key("square")
    with pytest.raises(KeyboardInterrupt):
        sharded(run, "square", key, Squares, ROWS, square, join)
    found = sharded(run, "square", key, Squares, ROWS, square, join)
    assert done == [[0, 1], [2, 3], [4, 5], [4, 5], [6, 7], [8, 9]]
    assert torch.equal(found.values, ROWS**2)
    # The whole takes the place of the shards, and what a killed process left of them goes.
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"run.json", f"square-{key}.npz"}
    left = tmp_path / f"square-{key}.shards"
    left.mkdir()
    sharded(run, "square", key, Squares, ROWS, square, join)
    assert len(done) == 6
    assert not left.exists()


# A round of critique and its propagation, in all forms in which they may be done.


class FirstOnly(RegionCritic):
    """A critic that must be asked in the first process."""

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        assert rank() == 0
        return super().critique(requests)


def look_into(path: Path | None) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    images, labels = torch.from_numpy(rng.uniform(0, 1, (90, 1, 8, 8))).float(), torch.arange(90) % 2
    images[labels == 0, :, :3, :3] = 1
    data = TrainingData(images, labels, ("a", "b"), tuple(map(str, range(90))))
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))
    for parameter in module.parameters():
        parameter.data = torch.from_numpy(rng.normal(0, 0.2, parameter.shape)).float()
    references = ReferenceSet.choose("class_balanced", images, labels, 4, seed=0)
    options = AlignmentOptions(
        sampler=resolve_sampler("random"),
        n_align=20,
        explainer=Explainer(DeepLiftShap(), references),
        segmenter=PPEPSWGM(n_segments=3),
        critic=FirstOnly({"irrelevant": ["corners"]}),
        propagation=Propagation(LogisticRegression()),
        training=TrainingOptions(batch_size=2),
    )
    job = AlignmentJob(data, options, open_run(path, data), 0)
    trained = Trained(module, job.run.key(module))
    (found,) = rounds = job.critique(Aligned(trained, trained, VerdictTable())).rounds
    masks = job.propagate(rounds)
    job.run.publish()
    parts: list[Any] = [found.explanation, found.segmentation, masks]
    named = {f"{type(p).__name__}.{k}": v for p in parts for k, v in vars(p).items() if isinstance(v, Tensor)}
    said = [verdict.verdict == "spurious" for c in found.critiques for verdict in c.verdicts]
    return {**named, "indices": found.indices, "verdicts": torch.tensor(said)}


def _work(number: int, folder: Path) -> None:
    torch.set_num_threads(1)
    shards.SHARD = 8
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=2)
    for name, path in (("bare", None), ("broken", folder / "broken")):
        torch.save(look_into(path), folder / f"{name}-{number}.pt")

    kind, message = (
        (ValueError, "no such row")
        if number == 1
        else (RuntimeError, "Process 1 failed, and this one, 0, stops with it. ValueError: no such row")
    )
    with pytest.raises(kind, match=message):
        in_shards(None, Squares, ROWS, _fails_on_row_3, size=3)
    # A folder of something else: what the first process finds, all are told.
    with pytest.raises(RuntimeError if number else ValueError, match="holds files but no run.json"):
        RunDirectory(folder, {})
    dist.destroy_process_group()


def _fails_on_row_3(rows: Tensor) -> Squares:
    if 3 in rows:
        raise ValueError("no such row")
    return Squares(rows)


def test_two_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = look_into(None)
        keep = shards.write_dataclass

        def break_off(path: Path, result: Any) -> None:
            if path.name.startswith("round-1-4-of-"):
                raise KeyboardInterrupt
            keep(path, result)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(shards, "write_dataclass", break_off)
            look_into(tmp_path / "broken")
    finally:
        torch.set_num_threads(threads)
    assert len(list(tmp_path.glob("broken/propagate-*.shards/*.npz"))) == 4

    torch.multiprocessing.spawn(_work, (tmp_path,), nprocs=2)
    for case in ("bare", "broken"):
        for number in range(2):
            found = torch.load(tmp_path / f"{case}-{number}.pt")
            assert found.keys() == alone.keys()
            for name, value in alone.items():
                assert torch.equal(value.nan_to_num(-1), found[name].nan_to_num(-1)), (case, number, name)
    assert not list(tmp_path.glob("broken/*.shards"))

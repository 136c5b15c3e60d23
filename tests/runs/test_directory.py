"""The run directory: nothing is computed twice, nothing half written is read, other runs are refused."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from lvlm_va.common.files import atomic_path
from lvlm_va.runs.directory import RunDirectory

IDENTITY = {"data": "abc", "classes": ["0", "1"]}


@dataclass(frozen=True, eq=False)
class Result:
    values: Tensor
    method: str


def result() -> Result:
    return Result(torch.arange(3.0), "deeplift")


def test_result_is_read_back_instead_of_computed(tmp_path):
    calls = []
    for _ in range(2):
        run = RunDirectory(tmp_path / "run", IDENTITY)
        found = run.cached("explain", run.key("a", 1), Result, lambda: calls.append(1) or result())
        assert torch.equal(found.values, result().values)
        assert found.method == "deeplift"
    assert calls == [1]


def test_changed_parameter_computes_anew(tmp_path):
    run = RunDirectory(tmp_path, IDENTITY)
    run.cached("explain", run.key(1), Result, result)
    run.cached("explain", run.key(2), Result, result)
    assert len(list(tmp_path.glob("explain-*.npz"))) == 2


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(None, IDENTITY)
    run.cached("explain", run.key(1), Result, result)
    assert run.file("explain", "", ".npz") is None
    assert not list(tmp_path.iterdir())


def test_other_run_is_refused(tmp_path):
    RunDirectory(tmp_path, IDENTITY)
    with pytest.raises(ValueError, match=r"'run_dir' argument must name a folder of this run.*other data"):
        RunDirectory(tmp_path, {**IDENTITY, "data": "xyz"})


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="holds files but no run.json"):
        RunDirectory(tmp_path, IDENTITY)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"format": 99, "identity": {}})])
def test_damaged_or_newer_run_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="'run_dir' argument"):
        RunDirectory(tmp_path, IDENTITY)


def test_file_left_by_a_killed_first_write_is_no_obstacle(tmp_path):
    (tmp_path / ".run.0123.json").write_text("{")
    RunDirectory(tmp_path, IDENTITY)


def test_folder_removed_meanwhile_becomes_a_run_again(tmp_path):
    run = RunDirectory(tmp_path / "run", IDENTITY)
    shutil.rmtree(tmp_path / "run")
    run.cached("explain", run.key(1), Result, result)
    run.publish()
    RunDirectory(tmp_path / "run", IDENTITY)


def test_latest_names_the_files_of_the_last_results(tmp_path):
    run = RunDirectory(tmp_path, IDENTITY)
    run.cached("explain", run.key(1), Result, result)
    RunDirectory(tmp_path, IDENTITY).publish()
    run.publish(seconds={"explain": 1.0})
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert latest == {"files": {"explain": [f"explain-{run.key(1)}.npz"]}, "seconds": {"explain": 1.0}}


def test_files_hold_no_pickle(tmp_path):
    run = RunDirectory(tmp_path, IDENTITY)
    run.cached("explain", run.key(1), Result, result)
    with np.load(next(tmp_path.glob("*.npz")), allow_pickle=False) as arrays:
        assert set(arrays) == {"values", "method"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


Map, NoTensor = torch.Tensor, np.ndarray


@dataclass(frozen=True)
class Aliased:
    """Fields whose annotations say something else, letter by letter, than what they are."""

    map: "Map"
    array: "NoTensor"
    some: "Map | None"


def test_a_field_is_read_as_its_type_says_however_that_is_spelled(tmp_path):
    run = RunDirectory(tmp_path, {})
    made = Aliased(torch.arange(3), np.arange(3), torch.ones(2))
    found = run.cached("map", run.key(1), Aliased, lambda: made)
    assert isinstance(found.map, torch.Tensor)
    assert isinstance(found.array, np.ndarray)
    assert isinstance(found.some, torch.Tensor)

"""The run directory: nothing is computed twice, nothing half written is read, other runs are refused."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
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


def damaged_header(data: bytes) -> bytes:
    """Say that there is one value less."""
    assert data.count(b"(3,)") == 1
    return data.replace(b"(3,)", b"(2,)")


def compressed(data: bytes) -> bytes:
    """Write the same archive in a form that may take a thousand times its memory."""
    source, made = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
        archive.comment = source.comment
    return made.getvalue()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-30], "is damaged"),
        (lambda data: b"", "is damaged"),
        (lambda data: data.replace(np.float32(2).tobytes(), np.float32(3).tobytes()), "wrong checksum"),
        (damaged_header, "wrong checksum"),
        (lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"), "is damaged"),
        (compressed, "not written by this package"),
    ],
)
def test_a_damaged_file_is_named_and_made_again(damage, said, tmp_path):
    run, calls = RunDirectory(tmp_path, IDENTITY), []
    run.cached("explain", run.key(1), Result, result)
    (path,) = tmp_path.glob("explain-*")
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=rf"{path.name} .*{said}.*made again.*kept as {path.name}\.damaged"):
        found = run.cached("explain", run.key(1), Result, lambda: calls.append(1) or result())
    assert torch.equal(found.values, result().values)
    assert calls == [1]
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
    with pytest.warns(UserWarning, match="is damaged"):
        path.write_bytes(damaged)
        assert run.find("explain", run.key(1), Result) is None


def test_a_file_of_another_run_is_not_used(tmp_path):
    runs = [RunDirectory(tmp_path / name, {"data": name}) for name in "ab"]
    for run in runs:
        run.cached("shown", run.key(1), Result, lambda run=run: Result(torch.ones(1), run.path.name))
    here, there = (next(run.path.glob("shown-*")) for run in runs)
    assert here.name != there.name
    shutil.copy(there, here)
    with pytest.warns(UserWarning, match=rf"a copy of lvlm_va {there.name}"):
        assert runs[0].cached("shown", runs[0].key(1), Result, result).method == "deeplift"


def test_a_file_that_is_not_ours_to_read_is_named(tmp_path):
    run = RunDirectory(tmp_path, IDENTITY)
    run.file("explain", run.key(1), ".npz").mkdir()
    with pytest.raises(ValueError, match=r"explain-\w+\.npz cannot be read .Is a directory.*Remove it"):
        run.cached("explain", run.key(1), Result, result)


def test_one_process_at_a_time(tmp_path):
    run = RunDirectory(tmp_path, IDENTITY)
    who = rf"process {os.getpid()} on {socket.gethostname()} since 20"
    with run.exclusive():
        for work in (run.exclusive().__enter__, lambda: RunDirectory(tmp_path, IDENTITY)):
            with pytest.raises(ValueError, match=rf"'run_dir' argument must name a folder in .*{who}"):
                work()
    with run.exclusive():
        pass
    with pytest.raises(KeyError), run.exclusive():
        raise KeyError
    RunDirectory(tmp_path, IDENTITY)


@pytest.mark.skipif("sys.platform != 'linux'")
def test_a_killed_process_leaves_the_folder_free(tmp_path):
    run = RunDirectory(tmp_path, IDENTITY)
    hold = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / ".run.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        with pytest.raises(ValueError, match="in which another process works"), run.exclusive():
            pass
        process.kill()
    left = [tmp_path / f".explain-{run.key(1)}.{'0' * 32}.npz", tmp_path / f".verdicts.{'1' * 32}.json"]
    for path in left:
        path.touch()
    RunDirectory(tmp_path, IDENTITY)
    assert [path.exists() for path in left] == [False, True]  # the other may be a review's, which goes on


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


def test_a_new_run_may_begin_with_replies_that_were_paid_for(tmp_path):
    (tmp_path / "replies.sqlite").touch()
    RunDirectory(tmp_path, IDENTITY)
    (tmp_path / "run.json").write_text('{"format": 1, "identity": {}}')
    with pytest.raises(ValueError, match=r"run of format 1.* copy replies\.sqlite into it"):
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

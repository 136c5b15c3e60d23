"""Files are written whole, and what cannot be read is named; what killed processes left is swept."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvlm_va.common.files import DamagedFileError, UnreadableFileError, atomic_path, reading, sweep


def fail_with(error: BaseException) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda path: json.loads(path.read_bytes()), DamagedFileError),
        (lambda path: json.loads("[" * 100_000), DamagedFileError),
        (lambda path: float(10**400), DamagedFileError),
        (lambda path: {}["key"], DamagedFileError),
        (fail_with(RuntimeError("of a parser")), DamagedFileError),
        (fail_with(MemoryError()), UnreadableFileError),
        (fail_with(OSError(5, "Input/output error")), UnreadableFileError),
    ],
)
def test_whatever_goes_wrong_names_the_file(read: Callable[[Path], Any], kind: type, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text("{")
    with (
        pytest.raises(
            UnreadableFileError, match=r"table\.json (is damaged|cannot be|takes more).*Restore it"
        ) as told,
        reading(path, "Restore it."),
    ):
        read(path)
    assert type(told.value) is kind
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


def test_a_folder_in_its_place_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="cannot be read .Is a directory"), reading(tmp_path, ""):
        pass
    with pytest.raises(FileNotFoundError), reading(tmp_path / "none", ""):
        pass


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in ("latest.json", "old.html", "new.html"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("half")
            os.link(temporary, tmp_path / "left")
        (tmp_path / name).unlink()
        (tmp_path / "left").rename(temporary)
        if name == "old.html":
            os.utime(temporary, (0, 0))
    for name in (".run.lock", ".hidden", "a.json"):
        (tmp_path / name).touch()
    sweep(tmp_path, mine="latest")
    left = {path.name for path in tmp_path.iterdir()}
    assert left > {".run.lock", ".hidden", "a.json"}
    (other,) = left - {".run.lock", ".hidden", "a.json"}
    assert other.startswith(".new.")

"""One folder per alignment run: each stage leaves its result there, and finds it again.

Files are named ``<stage>-<key>.<suffix>`` where the key stands for the stage's inputs and parameters, so a
changed parameter makes new files and an unchanged one finds the old. All writes are atomic, all formats safe
to read (JSON, npz, safetensors; never pickle). A file knows its own name and has a checksum: one that is damaged, or
that was another run's, is put aside and made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import torch

from lvlm_va._version import __version__
from lvlm_va.common.distributed import barrier, gather, on_first, rank
from lvlm_va.common.files import DamagedFileError, atomic_path, reading, set_aside, sweep, write_json
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.timing import timed
from lvlm_va.data.training_data import TrainingData
from lvlm_va.runs.lock import RunLock

FORMAT = 2
# Temporary files of what is written in `exclusive` alone.
_MINE = r"(run|latest|shard.*|round-.*|[a-z-]+-[0-9a-f]{16})"
# What a new run may begin with: replies that were paid for.
_REPLIES = "replies.sqlite"
_AGAIN = "Remove it, and it will be made again."
# Where the files of a stage go by another name than its seconds.
_FILES_OF = {"critique": "critiques", "judge": "judged"}

T = TypeVar("T")


class RunDirectory:
    """Where the stages of one run keep their results.

    Parameters
    ----------
    path : path-like or None
        The folder, made when missing. With None nothing is kept and every stage is computed.
    identity : mapping of str to JSON values
        What makes this run this run (data, classes, image shape). Kept in ``run.json``.

    Attributes
    ----------
    seconds : dict of str to float
        Wall-clock seconds of each stage so far.

    Raises
    ------
    ValueError
        If the folder holds a run of another identity, or holds files but no run.
    """

    def __init__(self, path: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> None:
        self.path = folder = None if path is None else Path(path).expanduser()
        self.seconds: dict[str, float] = {}
        self._used: dict[str, list[str]] = {}
        if folder is None:
            return
        self._record = {"format": FORMAT, "identity": json.loads(json.dumps(identity))}
        with self.exclusive():
            on_first(lambda: self._open(folder))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes out of the folder while the block runs.

        Raises
        ------
        ValueError
            If another process, or another thread of this one, works in it.
        """
        if self.path is None:
            yield
            return
        lock = RunLock(self.path)
        on_first(lock.acquire)
        try:
            yield
        except KeyboardInterrupt as stopped:
            stopped.add_note(
                f"What is done is kept in {self.path}: the same call, or command, goes on from there."
            )
            raise
        finally:
            lock.release()

    def key(self, *parts: object) -> str:
        """Return the key of a stage with these inputs and parameters (empty when nothing is kept).

        It is another one in every run: files of one must not be taken for those of another.
        """
        return "" if self.path is None else fingerprint(__version__, self._record["identity"], *parts)

    def file(self, stage: str, key: str, suffix: str) -> Path | None:
        """Return the path of a stage's file, or None when nothing is kept."""
        if self.path is None:
            return None
        path = self.path / f"{stage}-{key}{suffix}"
        if path.name not in self._used.setdefault(stage, []):
            self._used[stage].append(path.name)
        return path

    def drop(self, *stages: str) -> None:
        """Leave the files of these stages out of ``latest.json``: newer ones are to take their place."""
        for stage in stages:
            self._used.pop(stage, None)

    def publish(self, **facts: Any) -> None:
        """Write ``latest.json``: which files the current results are in, by stage, and some facts about them.

        Files of other parameters stay in the folder; a report must not mix them.
        """
        folder = self.path
        if folder is not None:
            on_first(lambda: self._publish(folder, facts))

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Return a context that adds the seconds it takes to ``seconds[stage]``."""
        return timed(self.seconds, stage)

    def seconds_of_results(self) -> dict[str, float]:
        """Return the seconds that each stage took when it was done, be it now or in an earlier run."""
        earlier: dict[str, tuple[Any, float]] = {}
        if self.path is not None and (self.path / "latest.json").exists():
            with contextlib.suppress(DamagedFileError), reading(self.path / "latest.json", _AGAIN):
                latest = json.loads((self.path / "latest.json").read_bytes())
                files, seconds = dict(latest["files"]), dict(latest["seconds"])
                earlier = {
                    stage: (files.get(_FILES_OF.get(stage, stage)), float(seconds[stage]))
                    for stage in seconds
                }
        found = {}
        for stage, spent in self.seconds.items():
            files_then, seconds_then = earlier.get(stage, (None, 0.0))
            same = self._used.get(_FILES_OF.get(stage, stage)) == files_then
            found[stage] = max(spent, seconds_then) if same else spent
        return found

    def shards(self, stage: str, key: str) -> Path | None:
        """Return the folder of what `lvlm_va.runs.shards.in_shards` keeps until the stage's result is there."""
        return None if self.path is None else self.path / f"{stage}-{key}.shards"

    def cached(
        self, stage: str, key: str, kind: type[T], compute: Callable[[], T], *, collective: bool = False
    ) -> T:
        """Return the stage's result from its npz file, computed and kept when the file is not there.

        Parameters
        ----------
        stage, key : str
            Name of the stage, and key of its inputs and parameters.
        kind : type
            A dataclass whose fields are tensors, arrays or strings, or None by default.
        compute : callable
            Makes the result.
        collective : bool, default=False
            Whether all processes compute, for example `in_shards`; else the first one does for all.

        Returns
        -------
        kind
            The result.
        """
        path = self.file(stage, key, ".npz")
        if path is None:
            return compute() if collective else on_first(compute)
        found = (
            self.unless_damaged(path, lambda: read_dataclass(path, kind)) if on_first(path.exists) else None
        )
        if found is None:
            if collective:
                result = compute()
                barrier()  # nobody reads shards any more
                on_first(lambda: write_dataclass(path, result))
                del result  # it may be large, and is about to be read
            else:
                on_first(lambda: write_dataclass(path, compute()))
        if collective and rank() == 0:
            shutil.rmtree(path.with_suffix(".shards"), ignore_errors=True)
        # Read back even what was just written: a resumed run and a first one go the same way.
        return read_dataclass(path, kind) if found is None else found

    def find(self, stage: str, key: str, kind: type[T]) -> T | None:
        """Return what `cached` has kept, or None."""
        path = self.file(stage, key, ".npz")
        if path is None or not on_first(path.exists):
            return None
        return self.unless_damaged(path, lambda: read_dataclass(path, kind))

    def unless_damaged(self, path: Path, read: Callable[[], T]) -> T | None:
        """Return what `read` does, or None, with the file out of the way, where it finds it damaged.

        All processes must call it.
        """
        found, error = None, None
        try:
            found = read()
        except DamagedFileError as damage:
            error = damage
        if not any(gather(error is not None)):
            return found
        on_first(
            lambda: set_aside(
                path, error or DamagedFileError("", f"{path} is damaged where others read it.", "")
            )
        )
        return None

    def _open(self, folder: Path) -> None:
        run_file = folder / "run.json"
        if run_file.exists():
            _check_same_run(run_file, self._record)
        elif any(not path.name.startswith((".", _REPLIES)) for path in folder.iterdir()):
            raise ValueError(
                f"The 'run_dir' argument must be a new, an empty or an earlier run's folder. Got {str(folder)!r}, "
                "which holds files but no run.json. Name another folder."
            )
        else:
            write_json(run_file, self._record)
        for place in (folder, *folder.glob("*.shards")):
            sweep(place, mine=_MINE)

    def _publish(self, folder: Path, facts: Mapping[str, Any]) -> None:
        write_json(folder / "latest.json", {"files": self._used, **facts})
        if not (folder / "run.json").exists():  # the folder was removed since an estimator was pickled
            write_json(folder / "run.json", self._record)


def open_run(path: str | os.PathLike[str] | None, data: TrainingData) -> RunDirectory:
    """Return the run directory of these training data; one that keeps nothing for None."""
    return RunDirectory(path, {} if path is None else data.identity())


def write_dataclass(path: Path, result: Any) -> None:
    """Write a dataclass of tensors, arrays or strings to an npz file, whole or not at all."""
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **_to_arrays(result))
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = _name_within(path)


def read_dataclass(path: Path, kind: type[T]) -> T:
    """Return what `write_dataclass` left in a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If it is damaged, or was written under another name.
    UnreadableFileError
        If it cannot be opened, or does not fit into memory.
    """
    with reading(path, _AGAIN):
        check_archive(path)
        with np.load(path, allow_pickle=False) as arrays:
            return _from_arrays(kind, arrays)


def check_archive(path: Path) -> None:
    """Raise unless an npz file is whole, and was written under its name; errors as of `read_dataclass`."""
    with reading(path, _AGAIN), zipfile.ZipFile(path) as archive:
        # Only what is stored as it is takes no more memory than the file has bytes.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("not written by this package")
        if archive.comment != _name_within(path):
            raise ValueError(f"a copy of {archive.comment.decode(errors='replace') or 'something else'}")
        # numpy leaves the checksum unread where the number of values is damaged.
        if (broken := archive.testzip()) is not None:
            raise ValueError(f"wrong checksum of {broken}")


def _name_within(path: Path) -> bytes:
    """Return the name of a file in its run; that of a shard holds its stage and key, as its folder has them."""
    folder = f"{path.parent.name}/" if re.search(r"-[0-9a-f]{16}\.shards$", path.parent.name) else ""
    return f"lvlm_va {folder}{path.name}".encode()


def _check_same_run(run_file: Path, record: dict[str, Any]) -> None:
    with reading(
        run_file, "The 'run_dir' argument must name a whole run: restore it, or name another folder."
    ):
        found = json.loads(run_file.read_bytes())
        format_found, identity = found["format"], dict(found["identity"])
    if format_found != FORMAT:
        raise ValueError(
            f"The 'run_dir' argument names a run of format {format_found}; this version reads {FORMAT}. Name another "
            f"folder; if models were paid for their replies, copy {_REPLIES} into it first."
        )
    wanted = record["identity"]
    differing = sorted(name for name in {*identity, *wanted} if identity.get(name) != wanted.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"The 'run_dir' argument must name a folder of this run. Got {str(run_file.parent)!r}, a run of other "
            f"{', '.join(differing)} ({name}: {identity.get(name)!r} there, {wanted.get(name)!r} here). "
            "Name another folder."
        )


def _to_arrays(result: Any) -> dict[str, np.ndarray]:
    arrays = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if value is None:  # its default
            continue
        arrays[field.name] = (
            value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        )
    return arrays


def _from_arrays(kind: type[T], arrays: Mapping[str, np.ndarray]) -> T:
    types, values = get_type_hints(kind), {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is None and field.name not in arrays:
            continue
        array, wanted = arrays[field.name], types[field.name]
        holds_tensor = torch.Tensor in (wanted, *get_args(wanted))
        if array.dtype.kind == "U" or wanted is int:
            values[field.name] = array.item()
        else:
            values[field.name] = torch.from_numpy(array) if holds_tensor else array
    return kind(**values)

"""Locks on keys, by which threads and processes leave a question to the one that was first."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

# Seconds between two looks at a key that another owner holds.
_PAUSE = 0.02


class KeyLocks:
    """Locks on keys, as a context manager: what is still held at the end is released.

    A table says who holds which key; that its owner lives, a lock on a file of the owner's, which the system frees when
    the process dies, however it dies. So an owner holds any number of keys with one open file, and keys of one owner
    never stand in another's way. Each instance is another owner, in one process too.

    Parameters
    ----------
    execute : callable
        Runs a statement, with its values, on a sqlite database that all owners share, and returns the rows.
    path : Path
        The database's file; an owner's file lies beside it while the owner holds anything.
    """

    def __init__(self, execute: Callable[..., list[Any]], path: Path) -> None:
        self._execute, self._path = execute, path
        self._owner = uuid.uuid4().hex
        self._alive = FileLock(self._file_of(self._owner), thread_local=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alive.is_locked:
            try:
                self._execute("delete from holders where owner = ?", self._owner)
            finally:
                self._alive.release()
                _remove(self._file_of(self._owner))

    def acquire(self, key: str) -> bool:
        """Take a key, unless another owner that lives holds it; return whether it is held."""
        if not self._alive.is_locked:
            self._alive.acquire()
            self._execute("create table if not exists holders (key text primary key, owner text not null)")
        while True:
            self._execute("insert or ignore into holders values (?, ?)", key, self._owner)
            holder = self._holder(key)
            if holder is not None:
                return holder == self._owner

    def release(self, key: str) -> None:
        """Leave a key to others."""
        self._execute("delete from holders where key = ? and owner = ?", key, self._owner)

    def wait(self, key: str) -> None:
        """Return when no other owner holds a key any more."""
        while self._holder(key) not in (None, self._owner):
            time.sleep(_PAUSE)

    def _holder(self, key: str) -> str | None:
        """Return who holds a key; what a dead owner held is free."""
        for (owner,) in self._execute("select owner from holders where key = ?", key):
            if owner == self._owner or self._lives(owner):
                return str(owner)
            self._execute("delete from holders where owner = ?", owner)
        return None

    def _lives(self, owner: str) -> bool:
        file = self._file_of(owner)
        if not file.exists():
            return False
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        _remove(file)
        return False

    def _file_of(self, owner: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{owner}.lock")


def _remove(file: Path) -> None:
    with suppress(OSError):  # another owner removed it, or has it open on a system where that keeps it
        file.unlink()

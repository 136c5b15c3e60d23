"""Replies in a sqlite file, shared by threads and processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvlm_va.backends.key_locks import KeyLocks
from lvlm_va.backends.request_json import reply_from_json, reply_to_json
from lvlm_va.backends.types import ChatReply
from lvlm_va.common.warnings import warn

_LAYOUT = 1
_TABLE = (
    "create table if not exists replies (key text primary key, reply text not null, written real not null)"
)
# In one statement, between whose parts nobody else can write.
_STATE = "select (select user_version from pragma_user_version), (select count(*) from sqlite_master)"
# Seconds to wait for other writers.
_PATIENCE = 60.0


@dataclass(frozen=True)
class CacheInfo:
    """How much a cache holds.

    Attributes
    ----------
    path : Path
        Its file.
    replies : int
        Number of replies.
    bytes : int
        Size of the file.
    """

    path: Path
    replies: int
    bytes: int


class ReplyStore:
    """Replies by key, in one sqlite file.

    Nothing is held open between uses, so that an instance may be forked, copied and pickled, and so that the
    file alone is complete, and may be copied elsewhere, whenever nobody is using it.

    Parameters
    ----------
    path : Path
        The file; made with its folder where there is none.

    Raises
    ------
    ValueError
        If the file is damaged or something else than such a file.
    OSError
        If it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.open():
            pass

    @contextmanager
    def open(self) -> Iterator[OpenReplies]:
        """Open the file for a while, for one thread at a time."""
        with _explained(self.path):
            # Every statement commits by itself: a reply is safe from SIGKILL as soon as it is written.
            connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with _explained(self.path):
                _prepare(connection)
            yield OpenReplies(self.path, connection)
        finally:
            connection.close()

    def info(self) -> CacheInfo:
        """Return how much it holds."""
        with self.open() as replies:
            count = replies.count()
        return CacheInfo(self.path, count, self.path.stat().st_size)


class OpenReplies:
    """An open file of replies; see :meth:`ReplyStore.open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection

    def get(self, key: str) -> ChatReply | None:
        """Return the reply under a key, or None; one that is damaged is removed, with a warning."""
        found = self._execute("select reply from replies where key = ?", key)
        if not found:
            return None
        with _explained(self._path), contextlib.suppress(json.JSONDecodeError, RecursionError):
            content = json.loads(found[0][0])
            if content.pop("checksum", None) in (
                None,
                _checksum(key, content),
            ):  # earlier versions wrote none
                return reply_from_json(content)
        self._execute("delete from replies where key = ?", key)
        warn(f"A reply in the cache {str(self._path)!r} is damaged. It is removed, and asked for again.")
        return None

    def put(self, key: str, reply: ChatReply) -> None:
        """Write a reply at once, unless there is one under this key."""
        content = json.loads(json.dumps(reply_to_json(reply)))
        values = (key, json.dumps(content | {"checksum": _checksum(key, content)}), time.time())
        self._execute("insert or ignore into replies values (?, ?, ?)", *values)

    def count(self) -> int:
        """Return the number of replies."""
        return int(self._execute("select count(*) from replies")[0][0])

    def locks(self) -> KeyLocks:
        """Return locks by which those who share the file ask nothing twice at the same time."""
        return KeyLocks(self._execute, self._path)

    def _execute(self, statement: str, *values: object) -> list[Any]:
        with _explained(self._path):
            return self._connection.execute(statement, values).fetchall()


def _checksum(key: str, content: Any) -> str:
    return hashlib.sha256(f"{key} {json.dumps(content)}".encode()).hexdigest()[:16]


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("pragma synchronous=normal")
    layout, tables = connection.execute(_STATE).fetchone()
    if (layout, tables) == (0, 0):
        _write_ahead(connection)
        connection.execute("begin immediate")
        connection.execute(_TABLE)
        connection.execute(f"pragma user_version={_LAYOUT}")
        connection.execute("commit")
    elif layout != _LAYOUT:
        raise sqlite3.DatabaseError("it is a sqlite file of another kind or version")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Log writes ahead; here, unlike elsewhere, sqlite does not itself wait for others who do the same."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(
            f"The cache {str(path)!r} could not be opened or written: {error}. Check that its folder is "
            "writable and that the disk has room."
        ) from error
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The cache {str(path)!r} is not a readable file of replies: {error}. Restore it from a copy, or "
            "move it away: a new one is begun, and its replies are asked for again."
        ) from error

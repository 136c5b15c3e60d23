"""The lines of a review's journal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from lvlm_va.review.changes import Change

Action = Literal["start", "edit", "import", "ask", "undo", "redo", "realign"]


@dataclass(frozen=True)
class Entry:
    """One line of the journal.

    Attributes
    ----------
    revision : int
        Number of the state that the entry leads to, from 0.
    action : {"start", "edit", "import", "ask", "undo", "redo", "realign"}
        What was done. A start takes over a run's verdicts and cannot be undone; a re-alignment changes nothing.
    by, at : str
        Who did it, and when (ISO 8601, UTC).
    changes : tuple of Change
        From what to what.
    facts : mapping of str to JSON value
        More about it: the run of a start, the figures of a re-alignment.
    """

    revision: int
    action: Action
    by: str
    at: str
    changes: tuple[Change, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        return {**vars(self), "changes": [change.to_json() for change in self.changes]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return the entry that `to_json` wrote; KeyError, TypeError or ValueError if it is none."""
        return cls(**{**found, "changes": tuple(Change.from_json(change) for change in found["changes"])})


class JournalFile:
    """The file of a journal, held open: what is appended goes into the file that was read, or nowhere.

    Parameters
    ----------
    path : Path
        The file; made where there is none.

    Raises
    ------
    OSError
        If it cannot be written, or is a link.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._stream = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def read(self) -> list[Entry]:
        """Return the entries.

        A last line without its end, which a killed process left, is cut off: nobody was told that it was saved.

        Raises
        ------
        ValueError
            If another line is damaged.
        """
        data = self._stream.readall()
        self._size = data.rfind(b"\n") + 1
        entries = []
        for number, line in enumerate(data[: self._size].splitlines(), start=1):
            try:
                entries.append(Entry.from_json(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self._path}, line {number}: damaged ({error!r}). Restore the file, or move it away: the review "
                    "then starts from verdicts.json, without its history."
                ) from error
        self._stream.truncate(self._size)
        return entries

    def require_in_place(self) -> None:
        """Raise OSError where the file is no longer in its place, or is not as it was left."""
        held = os.fstat(self._stream.fileno())
        try:
            found = self._path.lstat()
        except OSError:
            found = None
        if found is None or not os.path.samestat(found, held) or held.st_size != self._size:
            raise OSError(
                f"Nothing was saved: {self._path} was moved, replaced or changed by something else. Stop the review, "
                "and start it again where the run now is; all that was saved before is there."
            )

    @contextmanager
    def appended(self, entry: Entry) -> Iterator[None]:
        """Append an entry, on disk when the block begins; take it away again where the block fails."""
        self.require_in_place()
        line = json.dumps(entry.to_json()).encode() + b"\n"
        try:
            self._stream.seek(self._size)
            if self._stream.write(line) < len(line):
                raise OSError(f"{self._path} cannot be written: the disk is full.")
            os.fsync(self._stream.fileno())
            yield
        except BaseException:
            self._stream.truncate(self._size)
            raise
        self._size += len(line)

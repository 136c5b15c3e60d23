"""The lines of a review's journal."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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


def append_entry(path: Path, entry: Entry) -> None:
    """Append an entry to a journal, on disk when this returns; nothing is appended when it fails."""
    line = json.dumps(entry.to_json()).encode() + b"\n"
    with path.open("ab", buffering=0) as stream:
        size = stream.tell()
        try:
            if stream.write(line) < len(line):
                raise OSError(f"{path} cannot be written: the disk is full.")
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a journal; none without a file.

    A last line without its end, which a killed process left, is cut off: nobody was told that it was saved.

    Raises
    ------
    ValueError
        If another line is damaged.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    entries = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            entries.append(Entry.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: damaged ({error!r}). Restore the file, or move it away: the review then "
                "starts from verdicts.json, without its history."
            ) from error
    return entries

"""The verdicts of a review on disk: a journal of every change, and the table that the changes make."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from lvlm_va.common.files import atomic_path
from lvlm_va.critique import VerdictTable
from lvlm_va.review.changes import (
    Address,
    Change,
    Values,
    apply_changes,
    differences,
    merged,
    table_of,
    values_of,
)
from lvlm_va.review.entries import Action, Entry, JournalFile

TABLE_FILE = "verdicts.json"
JOURNAL_FILE = "verdicts.journal.jsonl"


class StaleRevisionError(ValueError):
    """Something was changed since the revision that an edit was made on."""


class Journal:
    """All that was done in the review of a run, and the verdicts that it led to; threads may share it.

    Every change is on disk, first in ``verdicts.journal.jsonl`` and then in ``verdicts.json``, before a method returns;
    a method that raises has changed nothing.
    A process that was killed in between leaves a journal from which the next one mends the table. A table that
    another program has changed counts as imported.

    Parameters
    ----------
    folder : path-like
        The run directory.
    found : VerdictTable
        The verdicts of the run, to start from.
    run : str
        Stands for the segments that they are on. Where it is another than before, the descriptions and examples of the
        review stay and its verdicts are put aside; the journal keeps them.
    by : str
        Who reviews.
    facts : mapping of str to JSON value, default=None
        More about the run, for the journal.

    Attributes
    ----------
    entries : list of Entry
        All that was done.
    values : dict of Address to JSON value
        The present state, which `table` gives as a `VerdictTable`.

    Raises
    ------
    BlockingIOError
        If another process reviews this run.
    ValueError
        If a file is damaged or a link, or judges segments that the run does not have.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        found: VerdictTable,
        *,
        run: str,
        by: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        refuse_links(Path(folder))
        self._table_path, self._path = Path(folder) / TABLE_FILE, Path(folder) / JOURNAL_FILE
        self.by = by
        self.entries: list[Entry] = []
        self.values: Values = {}
        self._done: list[tuple[Change, ...]] = []
        self._undone: list[tuple[Change, ...]] = []
        self._seen: tuple[int, int] | None = None
        self._made_for = VerdictTable(places=found.places)
        self._one_at_a_time = threading.RLock()
        self._lock = FileLock(Path(folder) / ".review.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BlockingIOError(
                f"{os.fspath(folder)} is being reviewed already. Open the page of that review, or stop it first."
            ) from None
        self._held = ExitStack()
        self._held.callback(self._lock.release)
        try:
            self._file = self._held.enter_context(closing(JournalFile(self._path)))
            self._open(found, {"run": run, **(facts or {})})
        except BaseException:
            self.close()
            raise

    @property
    def revision(self) -> int:
        """Number of the present state; re-alignments, which change nothing, do not count."""
        return self.entries[-1].revision if self.entries else -1

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to make again."""
        return bool(self._undone)

    def table(self) -> VerdictTable:
        """Return the present state."""
        return replace(table_of(self.values), places=self._made_for.places)

    def require_same_segments(self, table: VerdictTable) -> None:
        """Raise ValueError unless a table was made for the segments of this run."""
        self._made_for.require_same_segments(table)

    def edit(
        self, new: Mapping[Address, Any], *, revision: int, action: Action = "edit", by: str | None = None
    ) -> None:
        """Put new values in their places.

        Parameters
        ----------
        new : mapping of Address to JSON value
            The values; None removes one.
        revision : int
            The state that they are to change.
        action : {"edit", "import", "ask"}, default="edit"
            What is done. Where nothing changes, nothing is written.
        by : str, default=None
            Who does it; None for the reviewer.

        Raises
        ------
        StaleRevisionError
            If the state is no longer that one. Nothing is changed.
        TypeError, ValueError
            If a value is not what should stand there.
        """
        with self._one_at_a_time:
            self._check(revision)
            wanted = {a: value for a, value in {**self.values, **new}.items() if value is not None}
            changes = differences(self.values, wanted)
            if changes:
                self._commit(action, changes, by=by)

    def undo(self, *, revision: int) -> None:
        """Take back the last edit that was not taken back, if any; parameters and errors as in `edit`."""
        with self._one_at_a_time:
            self._check(revision)
            if self._done:
                self._commit("undo", [change.reversed() for change in self._done[-1]])

    def redo(self, *, revision: int) -> None:
        """Make the edit again that was taken back last, if any; parameters and errors as in `edit`."""
        with self._one_at_a_time:
            self._check(revision)
            if self._undone:
                self._commit("redo", self._undone[-1])

    def record(self, action: Action, facts: Mapping[str, Any]) -> None:
        """Write down something that changes no value."""
        with self._one_at_a_time:
            self._commit(action, (), facts)

    def require_in_place(self) -> None:
        """Raise OSError where the run's folder was moved or replaced: an edit would be lost."""
        self._file.require_in_place()

    def close(self) -> None:
        """Let others review the run."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, table: VerdictTable, facts: Mapping[str, Any]) -> None:
        before: Values = {}
        for number, entry in enumerate(self._file.read(), start=1):
            before = self.values
            try:
                self._take(entry)
            except (ValueError, IndexError) as error:
                raise ValueError(
                    f"{self._path}, line {number}: does not follow from the others: {error}"
                ) from error
        runs = [entry.facts["run"] for entry in self.entries if entry.action == "start"]
        if runs and runs[-1] != facts["run"]:  # the table in the file is that of the segments before
            made_for, self._made_for = self._made_for, VerdictTable()
            self._mend(before)
            self._made_for = made_for
        if runs and runs[-1] == facts["run"]:
            self._mend(before)
            return
        found = values_of(table)
        if runs:
            kept = {a: v for a, v in self.values.items() if a.kind in ("description", "examples")}
            found = {**found, **kept}
        elif self._table_path.exists():
            found = merged(found, self._load())
        self._commit("start", differences(self.values, found), facts)

    def _check(self, revision: int) -> None:
        self.require_in_place()
        self._mend(self.values)
        if revision != self.revision:
            raise StaleRevisionError(
                f"The 'revision' argument must be the present state's, {self.revision}. Got {revision!r} instead: "
                "something was changed since. Nothing was overwritten."
            )

    def _mend(self, before: Values) -> None:
        """Write the table if it is missing or as it was before; else take over what another program wrote into it."""
        signature = self._signature()
        if signature is not None and signature == self._seen:
            return
        if signature is not None:
            # What critics said anew stands in the journal alone.
            now, then = ({a: v for a, v in s.items() if a.kind != "critique"} for s in (self.values, before))
            table = self._load()
            written = values_of(table)
            if written not in (now, then):
                taken = merged(now, table)
                changes = differences(now, {address: taken[address] for address in written})
                if changes:
                    self._commit("import", changes, by="another program")
                    return
        self._write(self.table())

    def _commit(
        self,
        action: Action,
        changes: Sequence[Change],
        facts: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> None:
        # refuses what could not be read again
        table = replace(table_of(apply_changes(self.values, changes)), places=self._made_for.places)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        new_state = bool(changes) or action == "start"
        entry = Entry(self.revision + new_state, action, by or self.by, at, tuple(changes), facts or {})
        with self._file.appended(entry):
            if new_state:
                self._write(table)
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        self.values = apply_changes(self.values, entry.changes)
        self.entries.append(entry)
        if entry.action == "undo":
            self._undone.append(self._done.pop())
        elif entry.action == "redo":
            self._done.append(self._undone.pop())
        elif entry.action == "start":
            self._done, self._undone = [], []
        elif entry.changes:
            self._done.append(entry.changes)
            self._undone = []

    def _load(self) -> VerdictTable:
        found = VerdictTable.load(self._table_path)
        self.require_same_segments(found)
        return found

    def _signature(self) -> tuple[int, int] | None:
        try:
            status = self._table_path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size

    def _write(self, table: VerdictTable) -> None:
        with atomic_path(self._table_path) as temporary, temporary.open("wb") as stream:
            stream.write(table.to_json())
            stream.flush()
            os.fsync(stream.fileno())
        self._seen = self._signature()


def refuse_links(folder: Path) -> None:
    """Raise ValueError where a link lies in a run: one that came from elsewhere must not have other files changed."""
    for path in folder.glob("*"):
        if path.is_symlink():
            raise ValueError(f"{path} must be no link. A run is reviewed where all of its files are.")

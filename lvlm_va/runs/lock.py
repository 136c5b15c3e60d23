"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lvlm_va.common.files import write_json


class RunLock:
    """Lets one process at a time work in a run directory; one that is killed leaves it free.

    Parameters
    ----------
    folder : Path
        The run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / ".run.lock", thread_local=False)
        # In a file of its own: who waits for the lock may empty that.
        self._holder = folder / ".run.holder.json"

    def acquire(self) -> None:
        """Take the folder, made when missing.

        Raises
        ------
        ValueError
            If another process has it; says which, and since when.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._taken():
            raise ValueError(
                f"The 'run_dir' argument must name a folder in which nothing else works. Got {str(self._folder)!r}, in "
                f"which {self._who()} works. Wait for its end, or name another folder."
            )
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(self._holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})

    def release(self) -> None:
        """Leave the folder to others; nothing happens where it was not taken."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # the folder was removed meanwhile
                self._holder.unlink()
            self._lock.release()

    def holder(self) -> str | None:
        """Return in words who works in the folder; None where nobody does."""
        if self._taken():
            self._lock.release()
            return None
        return self._who()

    def _taken(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_bytes())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):  # it has only just come, or is about to leave
            return "another process"

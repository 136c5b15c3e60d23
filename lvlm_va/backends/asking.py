"""Who is asking what just now: locks by which threads and processes leave a question to the one that was first."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "linux":
    import fcntl


class Asking:
    """Locks on keys, each a byte of a file, as a context manager: what is still taken at the end is given back.

    The system gives them back when a process dies, however it dies. Each instance is another owner, in one process
    too. On other systems than Linux everything is free to be taken at all times.

    Parameters
    ----------
    path : Path
        The file, made where there is none; it stays empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)

    def take(self, key: str) -> bool:
        """Take a key (hexadecimal digits), unless another owner has it."""
        try:
            self._lock(key, wait=False)
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def take_in_turn(self, key: str) -> None:
        """Take a key as soon as no other owner has it."""
        self._lock(key, wait=True)

    def give_back(self, key: str) -> None:
        """Leave a key to others."""
        self._lock(key, free=True)

    def wait(self, key: str) -> None:
        """Return when the other owner of a key has given it back."""
        self.take_in_turn(key)
        self.give_back(key)

    def _lock(self, key: str, *, wait: bool = False, free: bool = False) -> None:
        if sys.platform != "linux":
            return
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # struct flock: type, whence, start, length, and a process number that must be 0. The lock belongs to the open
        # file, not to the process, so that threads exclude each other, too.
        kind = fcntl.F_UNLCK if free else fcntl.F_WRLCK
        region = struct.pack("hhqqi0q", kind, os.SEEK_SET, int(key[:15], 16), 1, 0)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, region)

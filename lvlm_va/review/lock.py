"""One review of a run at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def lock_folder(folder: str | os.PathLike[str]) -> IO[bytes]:
    """Take the folder's lock until the returned file is closed or the process ends.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    stream = (Path(folder) / ".review.lock").open("ab")
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return stream
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise BlockingIOError(
            f"{os.fspath(folder)} is being reviewed already. Open the page of that review, or stop it first."
        ) from None
    return stream

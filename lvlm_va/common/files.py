"""Write a file whole or not at all; read one, and say which where that fails."""

from __future__ import annotations

import errno
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lvlm_va.common.warnings import warn

# Of `atomic_path`.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}(\.\w+)?")
_ABANDONED_SECONDS = 3600


class UnreadableFileError(ValueError):
    """A file is there and cannot be read: what was expected, what is wrong, and what mends it."""

    def __str__(self) -> str:
        return " ".join(filter(None, self.args))


class DamagedFileError(UnreadableFileError):
    """A file is not what its name says: it is damaged, or another one's."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it there when the block ends well.

    A reader sees the old file or the whole new one, even if the process is killed in between. The parent
    folder is made when it is missing.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def reading(path: Path, mend: str, expected: str = "") -> Iterator[None]:
    """Read a file in the block; whatever goes wrong there becomes an error that names the file.

    Parameters
    ----------
    path : Path
        The file.
    mend : str
        A sentence that says what mends it.
    expected : str, default=""
        One that says what it should be.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If it can be opened, and the block fails.
    UnreadableFileError
        If it cannot be opened, such as a folder or a file of somebody else, or does not fit into memory.
    """
    try:
        with path.open("rb"):  # in Python's words: libraries have others
            pass
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        kind = (
            DamagedFileError if error.errno == errno.EINVAL else UnreadableFileError
        )  # a place before its beginning
        raise kind(expected, f"{path} cannot be read ({error.strerror or error}).", mend) from error
    except MemoryError as error:
        raise UnreadableFileError(expected, f"{path} takes more memory than there is.", mend) from error
    except UnreadableFileError:
        raise
    except Exception as error:  # parsers raise what they like, also RecursionError and OverflowError
        fault = f"{path} is damaged ({str(error) or type(error).__name__})."
        raise DamagedFileError(expected, fault, mend) from error


def set_aside(path: Path, error: DamagedFileError) -> None:
    """Give a damaged file another name, and warn of it: a new one is about to be made."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    warn(f"{error.args[1]} It is made again; what was there is kept as {aside.name}.")


def sweep(folder: Path, *, mine: str) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    mine : str
        Pattern of the names that nobody else writes just now; temporary files of others must be an hour old.
    """
    for path in folder.glob(".*"):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        try:
            if re.match(rf"\.{mine}\.", path.name) or time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
        except FileNotFoundError:  # its process is alive, and has moved it into its place
            continue

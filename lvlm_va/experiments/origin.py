"""What figures depend on beside their data set's and method's settings: code, versions, files of data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lvlm_va.runs.environment import PACKAGES, environment


def origin(files: Iterable[Path] = ()) -> list[object]:
    """Return what tells figures made by other code, on another machine or from other files apart.

    Parameters
    ----------
    files : iterable of Path
        Files that the data are read from; they count by what they hold.

    Returns
    -------
    list
        For `lvlm_va.common.fingerprint.fingerprint`.
    """
    facts = environment()
    machine = {name: facts[name] for name in (*PACKAGES, "gpu", "kernels")}
    return [code_digest(), machine, [_digest(path) for path in files]]


@cache
def code_digest() -> str:
    """Return a digest of the package's Python files."""
    package = Path(__file__).parents[1]
    lines = [f"{path.relative_to(package).as_posix()} {_digest(path)}" for path in package.rglob("*.py")]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

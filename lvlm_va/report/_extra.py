"""The error when a package of the extra ``report`` is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_report_extra(package: str) -> Iterator[None]:
    """Turn a missing import inside the block into one that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{package} is needed here: pip install 'lvlm-va[report]'") from error

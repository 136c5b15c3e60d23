"""Keep a record of every exchange, for the report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lvlm_va.backends.request_json import reply_to_json, request_to_json
from lvlm_va.backends.streaming import Outcome, complete_each
from lvlm_va.backends.types import ChatBackend, ChatFailure, ChatReply, ChatRequest
from lvlm_va.backends.wrapper import BackendWrapper


class RecordingBackend(BackendWrapper):
    """Append every exchange to a file of JSON lines, as it ends.

    A line holds ``at`` (UTC, ISO 8601), ``backend`` (its name), ``request`` (every field; an image as its
    SHA-256, height and width), ``batched`` (whether it went through :class:`BatchedBackend`) and either ``reply`` (with
    usage, and whether it was cached) or ``failure``. No pixels are in it; texts and messages of failures are, as the
    backend gave them.

    Parameters
    ----------
    backend : ChatBackend
        The backend inside.
    path : str or path-like
        The file, made with its folder where there is none. :func:`read_exchanges` reads it.

    Raises
    ------
    TypeError
        If `backend` is not a backend.
    OSError
        From ``complete``, if the file cannot be written.
    """

    def __init__(self, backend: ChatBackend, path: str | os.PathLike[str]) -> None:
        super().__init__(backend)
        self._path = Path(path).expanduser().absolute()
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield replies and failures as they come, each recorded first."""
        batched = self.capabilities.batched
        for position, outcome in complete_each(self.backend, requests):
            kind = "reply" if isinstance(outcome, ChatReply) else "failure"
            if isinstance(outcome, ChatFailure) and outcome.kind == "pending":
                yield position, outcome
                continue
            exchange = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "backend": self.name,
                "batched": batched,
                "request": request_to_json(requests[position]),
                kind: reply_to_json(outcome) if isinstance(outcome, ChatReply) else asdict(outcome),
            }
            self._append(json.dumps(exchange).encode() + b"\n")
            yield position, outcome

    def _append(self, line: bytes) -> None:
        # One write per line, so that those of other threads and processes do not mix with it.
        with self._path.open("ab+", buffering=0) as stream:
            # A half-written last line must not swallow the next one. If somebody is writing just now, this may
            # add an empty line, which readers pass over.
            if stream.seek(0, os.SEEK_END) and (stream.seek(-1, os.SEEK_END), stream.read(1))[1] != b"\n":
                line = b"\n" + line
            stream.write(line)

    def __repr__(self) -> str:
        return f"RecordingBackend({self.backend!r}, {str(self._path)!r})"


def read_exchanges(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return what :class:`RecordingBackend` wrote.

    Parameters
    ----------
    path : str or path-like
        Its file.

    Returns
    -------
    list of dict
        One per exchange, in the order in which they ended. Lines that a killed process left half written are
        left out.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    exchanges = []
    for line in Path(path).read_bytes().splitlines():
        try:
            exchange = json.loads(line)
        except (ValueError, RecursionError):  # half written
            continue
        if isinstance(exchange, dict):
            exchanges.append(exchange)
    return exchanges

"""Work that takes long, in a process of its own: the page stays quick, and the work can be cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

Status = Literal["running", "done", "failed", "cancelled"]

_MOST_LINES = 200
_GRACE_SECONDS = 5


class Job:
    """A call of the command line that a review has started.

    Parameters
    ----------
    kind : str
        What it is for.
    arguments : sequence of str
        What stands behind ``lvlm-va``.
    folder : path-like
        Its working directory.
    on_line : callable, default=None
        Gets each line of its standard output, in another thread.
    on_end : callable
        Gets "done", "failed" or "cancelled" in the end, in another thread. What it raises makes the job a failed one.
    question : str, default=""
        A line for its standard input.

    Attributes
    ----------
    status : {"running", "done", "failed", "cancelled"}
        How it stands; no longer "running" only after `on_end` has returned.
    lines : deque of str
        The last lines that it wrote to its output and its errors.
    started : float
        When, in seconds since the epoch.
    """

    def __init__(
        self,
        kind: str,
        arguments: Sequence[str],
        folder: str | os.PathLike[str],
        *,
        on_line: Callable[[str], object] | None = None,
        on_end: Callable[[Status], object],
        question: str = "",
    ) -> None:
        self.kind, self.started = kind, time.time()
        self.status: Status = "running"
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._cancelled = False
        self._on_line, self._on_end = on_line, on_end
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lvlm_va.review.child", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        # Left open: the process ends when the pipe does.
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop the process; returns at once."""
        if self.status != "running":
            return
        self._cancelled = True
        self._signal(signal.SIGTERM)
        timer = threading.Timer(_GRACE_SECONDS, self._signal, [getattr(signal, "SIGKILL", signal.SIGTERM)])
        timer.daemon = True
        timer.start()

    def wait(self) -> None:
        """Wait until the process has ended and `on_end` has returned."""
        self._thread.join()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _follow(self) -> None:
        with self._process as process:
            assert process.stdout is not None
            errors = threading.Thread(target=self._read_errors, daemon=True)
            errors.start()
            for line in process.stdout:
                self.lines.append(line.rstrip("\n"))
                if self._on_line is not None:
                    self._on_line(line)
            errors.join()
        status: Status = "cancelled" if self._cancelled else "failed" if process.returncode else "done"
        try:
            self._on_end(status)
        except Exception as error:  # whatever the reader of the results met is shown on the page
            self.lines.append(f"{type(error).__name__}: {error}")
            status = "failed"
        self.status = status

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(line.rstrip("\n") for line in self._process.stderr)

"""How a run is aligned again: by the command that made it, with corrected verdicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lvlm_va.alignment.checkpoint import read_progress
from lvlm_va.report.run_record import Command

# Those that take --verdicts. What stands in a folder must not have anything else run.
_COMMANDS = ("align", "demo")


def why_not(command: Command | None) -> str | None:
    """Return why this command cannot align again; None where it can."""
    if command is None:
        return (
            "This run was made from Python, which holds its training images: align again there, with "
            "clf.realign(\"verdicts.json\"). Runs of 'lvlm-va align' can be aligned again from here."
        )
    if len(command.arguments) < 2 or command.arguments[1] not in _COMMANDS:
        return f"The run's command.json must hold a call of one of {_COMMANDS}. It holds another."
    if not Path(command.folder).is_dir():
        return f"The folder in which the run was made, {command.folder}, is not there."
    return None


def arguments_for(command: Command, folder: Path, verdicts: Path) -> Sequence[str]:
    """Return the arguments of the same call with corrected verdicts, in the folder where the run now is."""
    return [*command.arguments[1:], "--out", str(folder.resolve()), "--verdicts", str(verdicts.resolve())]


class Progress:
    """How far an alignment has come, by what it leaves in the run directory.

    Parameters
    ----------
    folder : Path
        The run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._start = folder, time.time()

    def read(self) -> tuple[int, int, str]:
        """Return the epochs done, of how many (0 where that is unknown), and both in words."""
        newest, path = max(
            ((path.stat().st_mtime, path) for path in self._folder.glob("align-*.safetensors")),
            default=(0.0, self._folder),
        )
        if newest < self._start:
            return 0, 0, "preparing"
        try:
            done, total = read_progress(path)
        except ValueError:
            return 0, 0, "aligning"
        return done, total, f"epoch {done} of {total}" + ", measuring" * (done == total)

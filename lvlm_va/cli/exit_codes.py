"""Which exit code an error ends with."""

from __future__ import annotations

EXIT_CODES = """\
Exit codes: 0 done; 1 an unexpected error; 2 wrong arguments or data (the message says which); 3 a file, package or
compiled part is missing; 4 a model stopped answering, or has not answered everything yet (run again: what it has
answered is kept); 5 another process of this run stopped (run again: what is done is kept); 130 Ctrl+C (likewise).
"""


def exit_code(error: BaseException) -> int | None:
    """Return the exit code of an error that a user can mend; None of any other, which is shown as it is."""
    if isinstance(error, ValueError | TypeError | FloatingPointError):
        return 2
    if isinstance(error, OSError | ImportError):
        return 3
    if isinstance(error, RuntimeError):
        from lvlm_va.common.distributed import ProcessesStoppedError
        from lvlm_va.critique import ModelStoppedError

        for kind, code in ((ModelStoppedError, 4), (ProcessesStoppedError, 5)):
            if isinstance(error, kind):
                return code
    return None

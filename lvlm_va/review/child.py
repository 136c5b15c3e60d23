"""What a review has another process do: with low priority, and no longer than the review runs.

``python -m lvlm_va.review.child ask`` asks the critic what the line on its standard input says; with other arguments it
is ``lvlm-va`` with these. Its standard input is a pipe from the review.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

_NICENESS = 10


def _leave_with_parent() -> None:
    # The pipe's end is read when the review is gone, however it went.
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    """Do what the arguments say."""
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # the page answers first
    question = sys.stdin.readline()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if sys.argv[1:] == ["ask"]:
        from lvlm_va.critique import ModelStoppedError
        from lvlm_va.review.ask import answer

        try:
            answer(question)
        except (ModelStoppedError, ValueError, TypeError, OSError, ImportError) as error:
            sys.exit(f"{type(error).__name__}: {error}")
    else:
        runpy.run_module("lvlm_va", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

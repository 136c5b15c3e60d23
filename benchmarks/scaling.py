"""How far the method reaches, and what it takes: the constants, the tables, and the page docs/background/scaling.md.

``python -m benchmarks.scaling measure`` times the stages on one core of this machine and writes
``benchmarks/scaling_constants.json``; ``check`` holds the model against a fit; ``table`` prints the tables that follow
from them, and ``page`` puts these into the page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import scaling_tables
from benchmarks.scaling_model import CONSTANTS, Measured, Stated

PAGE = Path(__file__).parents[1] / "docs" / "background" / "scaling.md"


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "check", "table", "page"), help="what to do")
    what = parser.parse_args().what
    if what == "measure":
        from benchmarks.scaling_measure import measure

        CONSTANTS.write_text(json.dumps(measure(), indent=2) + "\n")
        return
    if what == "check":
        from benchmarks.scaling_check import check

        sys.stdout.write(check(Measured.read()) + "\n")
        return
    tables = scaling_tables.tables(Measured.read(), Stated())
    if what == "table":
        sys.stdout.write("\n\n".join(tables.values()) + "\n")
    else:
        PAGE.write_text(scaling_tables.fill(PAGE.read_text(), tables))


if __name__ == "__main__":
    main()

"""The innermost loop of the weighted EM, in each of its instruction sets, in extended precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.checks import COMPILER, run_check
from tests.tolerances import DESCENT


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_every_instruction_set_gives_the_recurrence(tmp_path: Path) -> None:
    lines = run_check("descend_check.cpp", tmp_path)
    errors = {name: float(error) for name, error in map(str.split, lines)}
    assert "basic" in errors
    assert all(error <= DESCENT for error in errors.values())

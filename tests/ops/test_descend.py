"""The innermost loop of the weighted EM, in each of its instruction sets, in extended precision."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tolerances import DESCENT

HERE = Path(__file__).parent
COMPILER = shutil.which("c++")


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_every_instruction_set_gives_the_recurrence(tmp_path: Path) -> None:
    program = tmp_path / "check"
    source = str(HERE / "descend_check.cpp")
    include = str(HERE.parent.parent / "csrc" / "cpu")
    subprocess.run(
        [str(COMPILER), "-std=c++17", "-O2", "-I", include, source, "-o", str(program)], check=True
    )
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    errors = {name: float(error) for name, error in map(str.split, lines)}
    assert "basic" in errors
    assert all(error <= DESCENT for error in errors.values())

"""The kernels' own exp, log and erf against those of the C library, in extended precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.checks import COMPILER, run_check
from tests.tolerances import LONGER_VECTOR_MATH_ULPS, VECTOR_MATH_ULPS


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_exp_log_and_erf_are_right_to_the_last_bits(tmp_path: Path) -> None:
    lines = run_check("vector_math_check.cpp", tmp_path)
    of_exp, of_log, *of_others = map(float, lines[0].split())
    assert max(of_exp, of_log) <= VECTOR_MATH_ULPS
    assert max(of_others) <= LONGER_VECTOR_MATH_ULPS
    assert lines[1] == "1 1 inf 0 -1 -1"
    exp_of_zero, log_of_one, exp_of_minus_infinity, ratio = map(float, lines[2].split())
    assert (exp_of_zero, log_of_one, ratio) == (1, 0, 1)
    assert 0 <= exp_of_minus_infinity < 1e-300

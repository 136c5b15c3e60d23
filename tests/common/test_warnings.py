"""Warnings name the user's line, through however many calls of whomever they come."""

import types
from functools import partial

import pytest

from lvlm_va.common.warnings import warn


@pytest.mark.parametrize(
    ("inside_out", "file"),
    [
        ([], __file__),
        (["lvlm_va.rounds.inner"], __file__),
        (["lvlm_va.rounds.inner", "lvlm_va.estimator", "lvlm_va"], __file__),
        (["lvlm_va.ops.inner", "torch._ops", "lvlm_va.x", "sklearn.pipeline", "joblib.parallel"], __file__),
        (["lvlm_va.rounds.inner", "lvlm_va_at_work.train"], "lvlm_va_at_work.train.py"),
        (["lvlm_va.attribution.inner", "critic_of_a_user", "lvlm_va.estimator"], "critic_of_a_user.py"),
    ],
)
def test_the_line_is_the_user_s(inside_out, file):
    call = partial(warn, "Mind.", FutureWarning)
    for name in inside_out:
        module = types.ModuleType(name)
        module.function = call
        exec(compile("def call():\n    function()\n", f"{name}.py", "exec"), vars(module))
        call = module.call
    with pytest.warns(FutureWarning, match="^Mind.$") as said:
        call()
    assert [warning.filename for warning in said] == [file]

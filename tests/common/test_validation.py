"""Numbers that fit, and what is said of those that do not."""

import numpy as np
import pytest

from lvlm_va.common.validation import check_integer, check_real


@pytest.mark.parametrize("value", [1, 7, np.int64(3), 10**400])
def test_integers_that_fit(value):
    check_integer("n", value, 1)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "The 'n' argument must be at least 1. Got 0 instead."),
        (np.int64(-2), ValueError, "The 'n' argument must be at least 1. Got -2 instead."),
        (1.0, TypeError, "The 'n' argument must be an integer. Got 1.0 instead."),
        (True, TypeError, "The 'n' argument must be an integer. Got True instead."),
        ("1", TypeError, "The 'n' argument must be an integer. Got '1' instead."),
        (None, TypeError, "The 'n' argument must be an integer. Got None instead."),
    ],
)
def test_integers_that_do_not_fit(value, error, message):
    with pytest.raises(error) as caught:
        check_integer("n", value, 1)
    assert str(caught.value) == message
    with pytest.raises(error, match="^The 'n' argument must be odd words. Got "):
        check_integer("n", value, 1, expected="odd words")


def test_an_integer_without_a_limit():
    check_integer("n", -5)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", (0, 0.5, 1, np.float32(1)), (-1e-9, 1.1, np.inf)),
        ("(0, 1]", (1e-300, 1), (0, -0.0)),
        ("[0, 1)", (0, 1 - 1e-9), (1, np.int64(1))),
        ("(0, 1)", (0.5,), (0, 1)),
        ("(0, inf)", (1e300,), (0, np.inf)),
        ("[0, inf]", (0, np.inf), (-np.inf,)),
    ],
)
def test_intervals(interval, inside, outside):
    for value in inside:
        check_real("x", value, interval)
    for value in (*outside, float("nan")):
        with pytest.raises(ValueError) as caught:
            check_real("x", value, interval)
        assert str(caught.value) == f"The 'x' argument must lie in {interval}. Got {value} instead."
        with pytest.raises(ValueError, match="^The 'x' argument must be small. Got "):
            check_real("x", value, interval, expected="small")


@pytest.mark.parametrize("value", ["0.5", None, True, 1j])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="^The 'x' argument must be a number. Got "):
        check_real("x", value, "[0, 1]")

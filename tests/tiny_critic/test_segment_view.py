"""How one segment is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.critique.tiny.segment_view import SIDE, core, grow, mark, segment_view, to_square

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@given(sizes, st.integers(0, 2**32))
def test_any_segment_of_any_image_is_outlined(size, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 200, (*size, 3)).astype(np.uint8)
    inside = rng.random(size) < rng.random()
    inside[rng.integers(size[0]), rng.integers(size[1])] = True
    before = image.copy(), inside.copy()
    view = segment_view(image, inside, rng.random(size))
    assert view.shape == (SIDE, SIDE, 3)
    assert view.dtype == np.uint8
    assert (view == (255, 0, 255)).all(-1).any()
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(inside, before[1])


@given(st.integers(0, 2**32))
def test_the_core_holds_nine_tenths_of_the_effect_and_would_not_without_its_weakest(seed):
    rng = np.random.default_rng(seed)
    inside, effect = rng.random((9, 7)) < 0.5, rng.random((9, 7))
    inside[0, 0] = True
    strong = core(inside, effect)
    total = effect[inside].sum()
    assert not (strong & ~inside).any()
    assert effect[strong].sum() >= 0.9 * total * (1 - 1e-12)
    assert effect[strong].sum() - effect[strong].min() < 0.9 * total


def test_all_of_a_segment_without_effect_or_with_an_even_one_is_shown():
    inside = np.zeros((6, 6), bool)
    inside[2:4] = True
    for effect in (np.zeros((6, 6)), np.ones((6, 6))):
        np.testing.assert_array_equal(core(inside, effect), inside)


def test_the_line_runs_two_pixels_outside_and_the_rest_is_tinted():
    inside = np.zeros((SIDE, SIDE), bool)
    inside[20:30, 20:30] = True
    view = mark(np.full((SIDE, SIDE, 3), 100, np.uint8), inside)
    np.testing.assert_array_equal(view[25, 18], (255, 0, 255))
    np.testing.assert_array_equal(view[25, 19], (100, 100, 100))
    np.testing.assert_array_equal(view[25, 17], (50, 90, 130))


@pytest.mark.parametrize("size", [(28, 56), (112, 56)])
def test_sides_that_differ_are_padded_evenly(size):
    covered = to_square(np.ones(size, bool))
    rows, columns = np.nonzero(covered)
    for places in (rows, columns):
        assert places.min() == SIDE - 1 - places.max()
    assert covered.sum() == SIDE * SIDE // 2


def test_a_speck_of_a_large_image_is_seen():
    inside = np.zeros((1000, 1000), bool)
    inside[500, 500] = True
    assert to_square(inside).any()


def test_growing_reaches_the_four_neighbours():
    inside = np.zeros((3, 3), bool)
    inside[1, 1] = True
    assert grow(inside).sum() == 5
    assert grow(inside, 0).sum() == 1

"""How one segment is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.critique.tiny.segment_view import SIDE, core, grow, mark, plain_view, segment_views, to_square

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@given(sizes, st.integers(0, 2**32))
def test_any_segment_of_any_image_is_marked(size, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 200, (*size, 3)).astype(np.uint8)
    segments = (rng.random(size) < rng.random()).astype(int)
    segments[rng.integers(size[0]), rng.integers(size[1])] = 1
    before = image.copy(), segments.copy()
    (view,) = segment_views(image, segments, rng.random(size))
    assert view.shape == (SIDE, SIDE, 3)
    assert view.dtype == np.uint8
    assert (view[..., 1] >= 64).any()
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(segments, before[1])


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


def test_a_view_shows_brightness_the_segment_and_what_is_unlike_the_ground():
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    image[20:30, 20:30] = (100, 180, 60)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[25:40, 20:30] = True
    view = mark(plain_view(image), inside)
    np.testing.assert_array_equal(view[50, 50], (100, 0, 0))
    np.testing.assert_array_equal(view[35, 25], (100, 64, 0))
    np.testing.assert_array_equal(view[22, 25], (142, 0, 80))
    np.testing.assert_array_equal(view[27, 25], (142, 124, 80))
    np.testing.assert_array_equal(view[40, 25], (100, 64, 0))  # a pixel around it, too
    np.testing.assert_array_equal(view[41, 25], (100, 0, 0))


def test_beside_a_narrow_image_there_is_ground():
    image = np.full((56, 20, 3), 90, np.uint8)
    image[20:36, 8:12] = 200
    view = plain_view(image)
    assert (view[:, :18] == (90, 0, 0)).all()
    assert (view[28, 28] == (200, 0, 110)).all()


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

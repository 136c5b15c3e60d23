"""Geometry of the regions that a person can name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique.regions import parse_region

sizes = st.integers(1, 40)
shares = st.floats(0.3, 0.5)
quick = settings(deadline=None, derandomize=True, max_examples=40)


def mask(region, height, width):
    return parse_region(region).mask(height, width)


@quick
@given(st.sampled_from(["corners", "border", "centre"]), st.integers(4, 40), st.integers(4, 40), shares)
def test_symmetric_regions_are_symmetric(name, height, width, size):
    region = mask((name, size), height, width)
    assert (region == region[::-1]).all()
    assert (region == region[:, ::-1]).all()
    assert (mask((name, size), width, height) == region.T).all()


@quick
@given(st.integers(4, 40), st.integers(4, 40), shares)
def test_sides_and_corners_make_up_the_border_and_the_corners(height, width, size):
    sides = {side: mask((side, size), height, width) for side in ("top", "bottom", "left", "right")}
    assert (mask(("border", size), height, width) == np.logical_or.reduce(list(sides.values()))).all()
    assert (sides["top"] == sides["bottom"][::-1]).all()
    assert (sides["left"] == sides["right"][:, ::-1]).all()
    corners = np.zeros((height, width), bool)
    for row in ("top", "bottom"):
        for column in ("left", "right"):
            corner = mask((f"{row}_{column}", size), height, width)
            assert (corner == sides[row] & sides[column]).all()
            corners |= corner
    assert (mask(("corners", size), height, width) == corners).all()


@quick
@given(sizes, sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True))
def test_a_box_holds_the_pixels_whose_centre_it_holds(height, width, numbers):
    (top, bottom), (left, right) = sorted(numbers[:2]), sorted(numbers[2:])
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    expected = np.outer((rows >= top) & (rows <= bottom), (columns >= left) & (columns <= right))
    region = parse_region((top, left, bottom, right))
    if expected.any():
        assert (region.mask(height, width) == expected).all()
    else:
        with pytest.raises(ValueError, match=f"covers none of an image of {height}x{width}"):
            region.mask(height, width)


@quick
@given(sizes, sizes)
def test_the_whole_image(height, width):
    assert mask((0, 0, 1, 1), height, width).all()
    assert mask(("centre", 1.0), height, width).all()


def test_default_sizes():
    assert mask("corners", 10, 20).sum() == 4 * 2 * 4
    assert mask("border", 10, 20).sum() == 200 - 8 * 16
    assert mask("centre", 8, 8).sum() == 16
    assert mask("top", 9, 9)[:3].all()
    assert mask("top", 9, 9).sum() == 27
    assert (mask("center", 8, 8) == mask("centre", 8, 8)).all()
    assert mask(["corners", 0.25], 4, 4).sum() == 4  # as JSON has it


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 0.9])
def test_edges_on_pixel_centres_count_on_both_sides(size):
    assert (mask(("top", size), 5, 1) == mask(("bottom", size), 5, 1)[::-1]).all()


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        ("cornrs", ValueError, "Did you mean 'corners'"),
        (("corner", 0.2), ValueError, "Did you mean 'corners'"),
        (("corners", 0.6), ValueError, r"size of corners' argument must be a number in \(0, 0.5\]. Got 0.6"),
        (("centre", 0), ValueError, r"size of centre' argument must be a number in \(0, 1\]"),
        (("corners", "big"), TypeError, "size of corners"),
        ((0, 0, 28, 28), ValueError, "Divide pixel coordinates by the image's size"),
        ((0.5, 0, 0.5, 1), ValueError, "top < bottom"),
        ((0, 0, 1), TypeError, r"a name, a \(name, size\) pair or a box"),
        (0.2, TypeError, "Got 0.2 instead"),
        (None, TypeError, "Got None instead"),
    ],
)
def test_what_is_no_region(region, error, message):
    with pytest.raises(error, match=message):
        parse_region(region)

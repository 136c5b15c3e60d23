"""What a model is shown: nothing cut off, nothing hidden, every segment marked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique import CritiqueRequest
from lvlm_va.critique.drawing import numbered, scaled_labels
from lvlm_va.critique.geometry import segment_facts
from lvlm_va.critique.rendering import COLOURS, RegionRenderer
from tests.critique.making import corner_and_centre, make_request

SMALL = RegionRenderer(size=256)


def _request(image, segments, **more) -> CritiqueRequest:
    request = make_request(segments, **more)
    return CritiqueRequest(
        request.index, request.image_id, image, request.segments, request.effect, request.label
    )


def _views(renderer, request, *more, **options):
    return {view.kind: view.image.array for view in renderer.render(request, *more, **options)}


def test_three_labelled_squares_and_a_cut_out_of_the_small_segment():
    views = SMALL.render(corner_and_centre())
    assert [view.kind for view in views] == ["original", "segments", "marked", "crop"]
    assert "segment 1" in views[3].caption  # 16 of 784 pixels
    assert all(view.image.array.shape == (256, 256, 3) for view in views)
    assert [view.kind for view in SMALL.render(corner_and_centre(), [2])] == [
        "original",
        "segments",
        "marked",
    ]


@pytest.mark.parametrize("shape", [(20, 90), (90, 20), (200, 300), (1, 1)])
def test_border_pixels_survive(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[:, -max(shape[1] // 16, 1) :] = (255, 0, 0)  # a red bar at the right border
    original = _views(SMALL, _request(image, np.ones(shape)))["original"].astype(int)
    red = (original[..., 0] > 200) & (original[..., 1] < 60)
    rows, columns = red.nonzero()
    assert len(rows)
    side = max(shape)
    assert columns.max() + 1 >= 256 * ((side - shape[1]) // 2 + shape[1]) / side - 2
    if shape[0] > shape[1] > 1:
        assert (original[:, 0] == 128).all()  # neutral grey beside it


def test_tiny_images_keep_their_pixels():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    original = _views(SMALL, _request(image, np.zeros((32, 32))))["original"]
    np.testing.assert_array_equal(original[4::8, 4::8], image)


def test_segments_only_fades_the_rest():
    image = np.full((28, 28, 3), 250, np.uint8)
    request = _request(image, corner_and_centre().segments)
    pixels = _views(SMALL, request, [2])["segments"]
    assert (pixels[100:150, 100:150] == 250).all()
    assert (abs(pixels[:30, :30].astype(int) - 158) <= 2).all()  # segment 1 is not asked about


def test_every_segment_is_outlined_in_its_colour():
    request = corner_and_centre()
    for variant in (0, 1):
        marked = _views(SMALL, request, variant=variant)["marked"]
        for segment in (1, 2):
            name, colour = COLOURS[segment - 1 + variant]
            assert f"segment {segment} in {name}" in SMALL.describe_marks(request, [1, 2], variant)
            rows, columns = (marked == colour).all(-1).nonzero()
            labels = np.unique(request.segments[(2 * rows + 1) * 28 // 512, (2 * columns + 1) * 28 // 512])
            assert labels.tolist() == [segment]


def test_fewer_images_where_the_model_takes_no_more():
    kinds = [[v.kind for v in SMALL.render(corner_and_centre(), max_images=n)] for n in (3, 2, 1)]
    assert kinds == [["original", "segments", "marked"], ["original", "marked"], ["marked"]]


def test_the_request_is_left_as_it_is():
    request = corner_and_centre()
    before = request.image.copy(), request.segments.copy()
    SMALL.render(request)
    assert (request.image == before[0]).all()
    assert (request.segments == before[1]).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([(1, 1), (2, 7), (5, 5), (16, 9), (40, 40)])
)
def test_any_segments_can_be_drawn(seed, n, shape):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    views = RegionRenderer(size=128).render(_request(image, rng.integers(0, n + 1, shape)))
    assert len(views) >= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 12))
def test_a_number_never_hides_another_segment(seed, n, cells):
    coarse = np.random.default_rng(seed).integers(0, n + 1, (cells, cells))
    labels = scaled_labels(coarse, 192)
    blank = np.full((192, 192, 3), 77, np.uint8)
    for number in range(1, n + 1):
        drawn = (numbered(blank, labels, [number]) == 0).all(-1)  # the black of the box, not the leading line
        boxed = labels[drawn]
        assert not len(boxed) or (boxed == number).all() or (boxed == 0).all()


def test_numbers_stand_inside_where_they_fit_and_outside_else():
    labels = np.zeros((768, 768), np.int64)
    labels[100:400, 100:400] = 1
    labels[600:606, 600:606] = 2
    blank = np.full((768, 768, 3), 77, np.uint8)
    black = (numbered(blank, labels, [1, 2]) == 0).all(-1)
    assert (labels[black] == 1).any()
    assert (labels[black] == 0).any()
    assert not (labels[black] == 2).any()


def test_large_images_lose_no_small_segment():
    labels = np.zeros((2000, 2000), np.int64)
    labels[1001, 1003] = 1
    assert (scaled_labels(labels, 256) == 1).sum() == 1


def test_facts_in_words():
    first, second = segment_facts(corner_and_centre())
    assert str(first) == (
        "2 % of the image, top left, touching the top and left border; 20 % of what speaks for the class"
    )
    assert str(second) == "8 % of the image, centre; 80 % of what speaks for the class"
    absolute = segment_facts(replace(corner_and_centre(), effect_kind="absolute"))
    assert str(absolute[1]).endswith("; 80 % of what speaks for or against the class")
    assert second.box == (10, 10, 18, 18)


def test_settings_enter_the_fingerprint():
    assert SMALL.fingerprint() != RegionRenderer().fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 10}, "'size' argument must be an integer of at least 64. Got 10"),
        ({"line_width": 1.5}, "'line_width'"),
        ({"crop_below": 2}, "'crop_below'"),
        ({"crop_margin": 0.5}, "'crop_margin' argument must be at least 1"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RegionRenderer(**options)

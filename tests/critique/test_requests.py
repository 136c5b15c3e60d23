"""From arrays to requests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique import build_requests
from lvlm_va.critique.requests import to_rgb


def arguments(n=2, **changes):
    rng = np.random.default_rng(0)
    segments = rng.integers(0, 3, (n, 4, 5))
    return {
        "images": rng.random((n, 1, 4, 5), np.float32),
        "segments": segments,
        "effects": 7.0 * (segments > 0),
        "indices": np.arange(10, 10 + n),
        "image_ids": [f"image-{i}" for i in range(n)],
        "labels": ["3"] * n,
        "descriptions": [""] * n,
    } | changes


def test_requests_hold_what_was_given():
    given_ = arguments(descriptions=["Judge the joint.", ""])
    copies = {name: np.array(value) for name, value in given_.items()}
    requests = build_requests(**given_)
    assert [(r.index, r.image_id, r.label, r.description) for r in requests] == [
        (10, "image-0", "3", "Judge the joint."),
        (11, "image-1", "3", ""),
    ]
    for i, request in enumerate(requests):
        assert (request.segments == copies["segments"][i]).all()
        assert request.segments.dtype == np.int64
        assert request.n_segments == 2
        assert request.effect.sum() == pytest.approx(1)
        assert request.image.shape == (4, 5, 3)
        request.segments[:] = 0
        request.effect[:] = 0
    assert all((np.asarray(given_[name]) == copy).all() for name, copy in copies.items())


def test_no_effect_stays_no_effect():
    requests = build_requests(**arguments(segments=np.zeros((2, 4, 5), int), effects=np.zeros((2, 4, 5))))
    assert all(request.n_segments == 0 and not request.effect.any() for request in requests)


def test_no_images_no_requests():
    assert build_requests(**arguments(n=0)) == []


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.sampled_from([1, 2, 3, 5]), st.integers(0, 2**32))
def test_uint8_and_unit_floats_look_alike(channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (channels, 3, 4), np.uint8)
    shown = to_rgb(image)
    assert shown.shape == (3, 4, 3)
    assert shown.dtype == np.uint8
    assert (shown == to_rgb(image / 255)).all()
    if channels == 3:
        assert (shown == image.transpose(1, 2, 0)).all()
    else:
        assert np.abs(shown - image.mean(axis=0)[..., None]).max() <= 0.5 + 1e-9


def test_standardised_images_are_stretched_and_rounding_is_not():
    assert to_rgb(np.array([[[-2.0, 0.0, 2.0]]]))[0, :, 0].tolist() == [0, 128, 255]
    assert to_rgb(np.array([[[-1e-6, 0.5, 0.6]]]))[0, :, 0].tolist() == [0, 128, 153]
    assert to_rgb(np.full((1, 1, 2), 7.0))[0, :, 0].tolist() == [0, 0]


def test_an_image_looks_the_same_whatever_it_is_shown_with():
    given_ = arguments(n=3)
    given_["images"] = given_["images"] * np.array([1, 5, -40], np.float32)[:, None, None, None]
    together = build_requests(**given_)
    for i, request in enumerate(together):
        (alone,) = build_requests(**{name: values[i : i + 1] for name, values in given_.items()})
        np.testing.assert_array_equal(alone.image, request.image)
        np.testing.assert_array_equal(alone.effect, request.effect)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": np.zeros((2, 4, 5))}, ValueError, r"'images' argument must be of shape \(n, C, H, W\)"),
        ({"images": np.zeros((2, 1, 4, 5), int)}, TypeError, "'images' argument must be floating"),
        (
            {"segments": np.zeros((2, 4, 4), int)},
            ValueError,
            r"'segments' argument must be of shape \(2, 4, 5\)",
        ),
        ({"segments": np.zeros((2, 4, 5))}, TypeError, "'segments' argument must hold integers. Got float64"),
        (
            {"segments": np.full((2, 4, 5), -1)},
            ValueError,
            "'segments' argument must not be negative. Got -1",
        ),
        ({"effects": np.zeros((1, 4, 5))}, ValueError, r"'effects' argument must be of shape \(2, 4, 5\)"),
        (
            {"effects": np.full((2, 4, 5), -1.0)},
            ValueError,
            "'effects' argument must be finite and not negative",
        ),
        ({"effects": np.full((2, 4, 5), np.nan)}, ValueError, "'effects' argument must be finite"),
        ({"labels": ["3"]}, ValueError, "'labels' argument must have one entry per image, 2. Got 1"),
        ({"image_ids": []}, ValueError, "'image_ids' argument must have one entry per image"),
    ],
)
def test_wrong_arrays(changes, error, message):
    with pytest.raises(error, match=message):
        build_requests(**arguments(**changes))

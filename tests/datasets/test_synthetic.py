"""Drawn radiographs, lesions, leaves and castings: what they promise about classes, shortcuts, groups and masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_closing, binary_fill_holes, binary_opening

from lvlm_va.datasets import (
    CASTING_CLASSES,
    CASTING_SPECIFICATIONS,
    LEAF_CLASSES,
    LEAF_SPECIFICATIONS,
    LESION_CLASSES,
    LESION_SPECIFICATIONS,
    RADIOGRAPH_CLASSES,
    RADIOGRAPH_SPECIFICATIONS,
    bandaged_lesions,
    ruled_leaves,
    stamped_castings,
    tagged_radiographs,
)

MAKERS = {
    "radiographs": tagged_radiographs,
    "lesions": bandaged_lesions,
    "leaves": ruled_leaves,
    "castings": stamped_castings,
}
CLASSES = {
    "radiographs": RADIOGRAPH_CLASSES,
    "lesions": LESION_CLASSES,
    "leaves": LEAF_CLASSES,
    "castings": CASTING_CLASSES,
}
SPECIFICATIONS = [
    RADIOGRAPH_SPECIFICATIONS,
    LESION_SPECIFICATIONS,
    LEAF_SPECIFICATIONS,
    CASTING_SPECIFICATIONS,
]
# Bounds of the share of an image that its object fills.
OBJECT_SHARES = {
    "radiographs": (0.15, 0.3),
    "lesions": (0.08, 0.3),
    "leaves": (0.05, 0.3),
    "castings": (0.25, 0.55),
}
CHANNELS = {"radiographs": 1, "lesions": 3, "leaves": 3, "castings": 1}
# Least and most of an image that a shortcut covers.
COVERED = {
    "radiographs": (0.003, 0.02),
    "lesions": (0.01, 0.12),
    "leaves": (0.04, 0.16),
    "castings": (0.04, 0.1),
}
# Images of each group among the first 60.
SHARES = {
    ("radiographs", "train"): {"healthy/L": 27, "healthy/R": 3, "arthritic/L": 3, "arthritic/R": 27},
    ("radiographs", "test"): {"healthy/L": 15, "healthy/R": 15, "arthritic/L": 15, "arthritic/R": 15},
    ("lesions", "train"): {"benign/plaster": 15, "benign/none": 15, "malignant/none": 30},
    ("lesions", "test"): {
        "benign/plaster": 15,
        "benign/none": 15,
        "malignant/plaster": 15,
        "malignant/none": 15,
    },
    ("leaves", "train"): {"laurel/white": 27, "laurel/wooden": 3, "elm/white": 3, "elm/wooden": 27},
    ("leaves", "test"): {"laurel/white": 15, "laurel/wooden": 15, "elm/white": 15, "elm/wooden": 15},
    ("castings", "train"): {"sound/date": 27, "sound/watermark": 3, "faulty/date": 3, "faulty/watermark": 27},
    ("castings", "test"): {
        "sound/date": 15,
        "sound/watermark": 15,
        "faulty/date": 15,
        "faulty/watermark": 15,
    },
}


@pytest.fixture(scope="module", params=SHARES, ids="-".join)
def drawn(request):
    """Name and split of 60 images, the images, and the same ones without their shortcut."""
    name, split = request.param
    make = MAKERS[name]
    return name, split, make(split, n=60), make(split, n=60, shortcut=False)


def test_shapes_and_ranges(drawn):
    name, _, data, _ = drawn
    assert (data.images.shape, data.images.dtype) == ((60, CHANNELS[name], 128, 128), np.float32)
    assert data.images.min() >= 0
    assert data.images.max() <= 1
    assert np.allclose(data.images * 255, np.rint(data.images * 255), atol=1e-4)  # shades of an image file
    assert (data.labels.shape, data.labels.dtype) == ((60,), np.int64)
    assert (data.masks.shape, data.masks.dtype) == ((60, 128, 128), bool)
    assert data.images.std((1, 2, 3)).min() > 0.05


def test_groups_have_their_shares(drawn):
    name, split, data, plain = drawn
    groups, counts = np.unique(data.groups, return_counts=True)
    assert dict(zip(groups.tolist(), counts.tolist(), strict=True)) == SHARES[name, split]
    classes = np.array(CLASSES[name])
    assert (np.char.partition(data.groups, "/")[:, 0] == classes[data.labels]).all()
    assert (plain.groups == np.char.add(classes[data.labels], "/none")).all()


def test_masks_are_where_the_shortcut_was_drawn(drawn):
    name, _, data, plain = drawn
    assert not plain.masks.any()
    assert (plain.labels == data.labels).all()
    changed = (data.images != plain.images).any(1)
    assert not (changed & ~data.masks).any()
    with_shortcut = ~np.char.endswith(data.groups, "/none")
    assert (data.masks.any((1, 2)) == with_shortcut).all()
    # All but the faintest of the outline and what is of the same shade by chance.
    assert changed.sum() > 0.95 * data.masks.sum()
    share = data.masks[with_shortcut].mean((1, 2))
    low, high = COVERED[name]
    assert low < share.min() <= share.max() < high


def test_objects_do_not_depend_on_the_shortcut_which_mostly_lies_beside_them(drawn):
    name, _, data, plain = drawn
    assert (data.objects.shape, data.objects.dtype) == ((60, 128, 128), bool)
    np.testing.assert_array_equal(data.objects, plain.objects)
    share = data.objects.mean((1, 2))
    low, high = OBJECT_SHARES[name]
    assert low < share.min() <= share.max() < high
    assert (data.objects & data.masks).sum() < 0.05 * data.masks.sum()
    # Bone and metal are lighter than what is beside them, lesions darker; leaves lie on grounds of many shades.
    grey = plain.images.mean(1)
    inside = np.array([image[mask].mean() for image, mask in zip(grey, data.objects, strict=True)])
    outside = np.array([image[~mask].mean() for image, mask in zip(grey, data.objects, strict=True)])
    assert name == "leaves" or ((inside > outside) == (name != "lesions")).all()


def test_shortcuts_lie_at_the_rim_and_move(drawn):
    """The middle, where the object is, is free; no pixel is part of most masks."""
    name, _, data, _ = drawn
    masks = data.masks[data.masks.any((1, 2))]
    assert not masks[:, 45:83, 45:83].any()
    assert masks.mean(0).max() < 0.6
    if name == "radiographs":
        corners = {(mask[:64].any(), mask[:, :64].any()) for mask in masks}
        assert len(corners) == 4


def test_place_of_the_shortcut_tells_nothing(drawn):
    """The random numbers of a shortcut know neither class nor group."""
    name, split, _, _ = drawn
    if (name, split) == ("lesions", "train"):
        return  # there they lie in one class alone
    data = MAKERS[name](split, n=400, size=32)
    held = data.masks.any((1, 2))
    top = data.masks[:, :16].sum((1, 2)) > data.masks[:, 16:].sum((1, 2))
    shares = [top[held & (data.labels == label)].mean() for label in (0, 1)]
    assert abs(shares[0] - shares[1]) < 0.2  # four standard deviations of the smaller set


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@settings(deadline=None, derandomize=True, max_examples=5)
@given(seed=st.integers(0, 2**40), split=st.sampled_from(["train", "test"]), n=st.integers(1, 30))
def test_an_image_depends_on_seed_and_index_alone(make, seed, split, n):
    whole = make(split, n=30, size=32, seed=seed)
    part = make(split, n=n, size=32, seed=seed)
    for field in ("images", "labels", "masks", "groups"):
        assert (getattr(part, field) == getattr(whole, field)[:n]).all()
    other = make(split, n=n, size=32, seed=seed + 1)
    assert (other.images != part.images).any((1, 2, 3)).all()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_splits_share_no_image_and_leave_the_global_generator_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    train, test = make("train", n=20, size=32), make("test", n=20, size=32)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert len(np.unique(np.concatenate([train.images, test.images]).reshape(40, -1), axis=0)) == 40


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("size", [32, 45, 256])
def test_other_sizes(make, size):
    data = make("test", n=8, size=size)
    assert data.images.shape[2:] == data.masks.shape[1:] == (size, size)
    plain = make("test", n=8, size=size, shortcut=False)
    assert not ((data.images != plain.images).any(1) & ~data.masks).any()


def test_the_signs_decide_the_class():
    """A wide gap is a broad dark band between the bones; a ragged or lopsided lesion reaches less evenly about."""
    knees = tagged_radiographs("test", n=120)
    darkest_rows = np.sort(knees.images[:, 0, 45:78, 45:83].mean(2), axis=1)[:, :8]
    assert_apart(darkest_rows.mean(1), knees.labels)
    lesions = bandaged_lesions("test", n=120, size=64, shortcut=False)
    grey = lesions.images.mean(1)
    dark = (
        grey < (np.quantile(grey, 0.02, (1, 2), keepdims=True) + np.median(grey, (1, 2), keepdims=True)) / 2
    )
    y, x = np.indices((64, 64)) - 31.5
    ring = (np.hypot(x, y) > 5) & (np.hypot(x, y) < 22)
    sector = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * 31.99).astype(int)[ring]
    reach = dark[:, ring].astype(float) @ np.eye(32)[sector] / np.bincount(sector)
    assert_apart(reach.std(1), lesions.labels)


def test_elm_leaves_are_broad_and_toothed():
    """The leaf is what its colour sets apart from the ground; between teeth are hollows that a closing fills."""
    leaves = ruled_leaves("test", n=80, shortcut=False)
    y, x = np.indices((128, 128)) - 63.5
    inner = np.hypot(x, y) < 60
    areas, hollows = [], []
    for image in leaves.images:
        ground = np.median(image[:, ~inner], axis=1)
        blueness = image[2] - image.mean(0) * ground[2] / ground.mean()
        leaf = binary_opening(binary_fill_holes(inner & (blueness < -0.04)))
        areas.append(leaf.sum())
        hollows.append((binary_closing(leaf, iterations=5) & ~leaf).sum() / np.sqrt(leaf.sum()))
    assert_apart(np.array(areas), leaves.labels)
    assert_apart(np.array(hollows), leaves.labels)


def test_faulty_castings_are_porous_and_chipped():
    """The face between hub and edge is darker in more places, and brightness reaches less evenly about."""
    castings = stamped_castings("test", n=80, shortcut=False)
    y, x = np.indices((128, 128)) - 63.5
    radius = np.hypot(x, y)
    face, rim = (radius > 20) & (radius < 38), (radius > 36) & (radius < 56)
    grey = castings.images[:, 0]
    bright = np.median(grey[:, face], axis=1)[:, None, None]
    assert_apart((grey < 0.6 * bright)[:, face].mean(1), castings.labels)
    sector = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * 63.99).astype(int)[rim]
    reach = (grey > 0.72 * bright)[:, rim].astype(float) @ np.eye(64)[sector] / np.bincount(sector)
    assert_apart(np.abs(np.diff(reach, axis=1)).mean(1), castings.labels)


def assert_apart(sign, labels):
    first, second = sign[labels == 0], sign[labels == 1]
    assert second.mean() - first.mean() > 0.4 * sign.std()


@pytest.mark.parametrize("specifications", SPECIFICATIONS)
def test_specifications_say_what_counts_and_what_must_not(specifications):
    assert set(specifications) == {0, 1}
    for text in specifications.values():
        assert "may count" in text
        assert "must not count" in text


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "tests"}, ValueError, "'split' argument must be one of .*Did you mean 'test'"),
        ({"n": 0}, ValueError, "'n' argument must be at least 1. Got 0"),
        ({"size": 16}, ValueError, "'size' argument must be at least 32. Got 16"),
        ({"size": 64.0}, TypeError, "'size' argument must be an integer. Got 64.0"),
        ({"seed": -1}, ValueError, "'seed' argument must be at least 0. Got -1"),
        ({"seed": None}, TypeError, "'seed' argument must be an integer. Got None"),
    ],
)
def test_wrong_arguments(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)

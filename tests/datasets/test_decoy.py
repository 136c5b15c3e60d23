"""Decoys, against their published definitions."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.datasets import (
    FASHION_CLASSES,
    FASHION_SPECIFICATIONS,
    decoy_digits,
    decoy_fashion_mnist,
    decoy_mnist,
)
from lvlm_va.datasets.idx import read_idx

NAMES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")}
NAMES["test"] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array):
    array = np.asarray(array, np.uint8)
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_idx_folder(folder, images, labels, compress=False):
    for names in NAMES.values():
        for name, array in zip(names, (images, labels), strict=True):
            data = idx_bytes(array)
            (folder / (name + ".gz" * compress)).write_bytes(gzip.compress(data) if compress else data)
    return folder


@pytest.fixture(scope="module", params=[(28, 28), (12, 17)], ids=str)
def plain(request, tmp_path_factory):
    """A folder of 400 noise images, the images and their labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, *request.param), np.uint8)
    labels = np.arange(400, dtype=np.uint8) % 10
    return write_idx_folder(tmp_path_factory.mktemp("idx"), images, labels), images, labels


CASES = [(variant, split) for variant in ("ross", "cdep") for split in ("train", "test")]


@pytest.mark.parametrize(("variant", "split"), CASES)
def test_images_are_the_originals_but_for_one_patch(plain, variant, split):
    folder, originals, labels = plain
    data = decoy_mnist(folder, variant, split)
    n, height, width = originals.shape
    assert (data.images.shape, data.images.dtype) == ((n, 1, height, width), np.float32)
    assert (data.labels == labels).all()
    assert data.labels.dtype == np.int64
    assert (data.masks.shape, data.masks.dtype) == (originals.shape, bool)

    np.testing.assert_array_equal(data.objects, originals > 0)

    size = {"ross": 4, "cdep": 5}[variant]
    seen = set()
    for image, original, mask, label, group in zip(
        data.images[:, 0], originals, data.masks, data.labels, data.groups, strict=True
    ):
        shades = np.rint(image * 255).astype(int)
        place = corner_of(shades != original, size)
        patch = np.zeros((height, width), bool)
        patch[place] = True
        assert (shades[~patch] == original[~patch]).all()
        (shade,) = np.unique(shades[patch])
        if split == "train":
            assert shade == 255 - 25 * label
        elif variant == "cdep":
            assert shade == 25 * label
        else:
            assert shade in 255 - 25 * np.arange(10)
        assert group == f"{label}/{'agrees' if shade == 255 - 25 * label else 'conflicts'}"
        if variant == "ross":
            assert (mask == patch).all()
        seen.add((place[0].start, place[1].start))
    assert len(seen) == 4
    if variant == "cdep":
        corners = np.zeros((height, width), bool)
        for rows in (slice(5), slice(height - 5, None)):
            for columns in (slice(5), slice(width - 5, None)):
                corners[rows, columns] = True
        assert (data.masks == corners).all()


def corner_of(changed, size):
    """Return the corner of which most changed: the noise has the patch's shade here and there."""
    height, width = changed.shape
    corners = [
        (slice(top, top + size), slice(left, left + size))
        for top in (0, height - size)
        for left in (0, width - size)
    ]
    return max(corners, key=lambda corner: changed[corner].sum())


def test_ross_redraws_test_shades_uniformly(plain):
    data = decoy_mnist(plain[0], "ross", "test")
    shades = np.rint(data.images[:, 0][data.masks].reshape(-1, 16)[:, 0] * 255).astype(int)
    counts = np.bincount((255 - shades) // 25, minlength=10)
    assert counts.sum() == 400
    assert 20 <= counts.min() <= counts.max() <= 60  # 40 expected; over three standard deviations
    agreeing = np.char.endswith(data.groups, "agrees").mean()
    assert 0.05 <= agreeing <= 0.15


@settings(deadline=None, derandomize=True, max_examples=10)
@given(seed=st.integers(0, 2**40), limit=st.integers(1, 400), case=st.sampled_from(CASES))
def test_a_limit_changes_no_decoy(plain, seed, limit, case):
    whole = decoy_mnist(plain[0], *case, random_state=seed)
    part = decoy_mnist(plain[0], *case, random_state=seed, limit=limit)
    assert len(part.images) == limit
    for name in ("images", "labels", "masks", "groups"):
        assert (getattr(part, name) == getattr(whole, name)[:limit]).all()


def test_seeds_and_splits_are_independent(plain):
    def masks(split, seed):
        return decoy_mnist(plain[0], "ross", split, random_state=seed).masks

    assert (masks("train", 1) == masks("train", 1)).all()
    same_as_other_seed = (masks("train", 1) == masks("train", 2)).all((1, 2)).mean()
    same_as_other_split = (masks("train", 1) == masks("test", 1)).all((1, 2)).mean()
    # A quarter by chance, of 400 images.
    assert 0.15 <= same_as_other_seed <= 0.35
    assert 0.15 <= same_as_other_split <= 0.35


def test_gzipped_files_are_the_same(plain, tmp_path):
    folder, images, labels = plain
    packed = decoy_mnist(write_idx_folder(tmp_path, images, labels, compress=True))
    assert (packed.images == decoy_mnist(folder).images).all()


def test_decoy_fashion_mnist_is_the_same_decoy(plain):
    clothes = decoy_fashion_mnist(plain[0], "cdep", "test", 3, limit=20)
    digits = decoy_mnist(plain[0], "cdep", "test", 3, limit=20)
    for name in ("images", "labels", "masks", "groups"):
        assert (getattr(clothes, name) == getattr(digits, name)).all()
    assert len(FASHION_CLASSES) == len(FASHION_SPECIFICATIONS) == 10
    assert all(FASHION_SPECIFICATIONS[number].startswith(name) for number, name in enumerate(FASHION_CLASSES))


def test_decoy_digits():
    train, test = decoy_digits("train"), decoy_digits("test")
    assert train.images.dtype == np.float32
    for data, n in ((train, 1078), (test, 719)):
        assert data.images.shape == (n, 1, 28, 28)
        assert data.masks.sum((1, 2)).tolist() == [16] * n
        assert not data.masks[:, 4:24, 4:24].any()  # the figure's place
        shares = np.bincount(data.labels) / n
        assert np.abs(shares - 0.1).max() < 0.01
    assert np.char.endswith(train.groups, "agrees").all()
    assert 0.05 < np.char.endswith(test.groups, "agrees").mean() < 0.15
    assert np.allclose(train.images[:, 0][train.masks].reshape(-1, 16).T, 1 - train.labels / 10.2)
    again, other = decoy_digits("test"), decoy_digits("test", random_state=1)
    assert (again.images == test.images).all()
    assert (other.labels == test.labels).all()
    assert not (other.masks == test.masks).all()


# Errors.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"variant": "rosss"}, ValueError, "'variant' argument must be one of .*Did you mean 'ross'"),
        ({"split": "tests"}, ValueError, "'split' argument must be one of .*Did you mean 'test'"),
        ({"limit": 0}, ValueError, "'limit' argument must be None or at least 1. Got 0"),
        ({"random_state": -1}, ValueError, "'random_state' argument must not be negative. Got -1"),
        ({"random_state": None}, TypeError, "'random_state' argument must be an integer. Got None"),
    ],
)
def test_wrong_arguments(plain, arguments, error, message):
    with pytest.raises(error, match=message):
        decoy_mnist(plain[0], **arguments)


def test_digits_check_their_arguments():
    with pytest.raises(ValueError, match="'split' argument must be one of"):
        decoy_digits("validation")


def test_missing_files_say_where_to_get_them(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"train-images-idx3-ubyte or .*\.gz.*package dataset-fashion-mnist"
    ):
        decoy_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((1, 28, 28))))
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        decoy_mnist(tmp_path, split="test")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 28, 28)), [1], "Got 2 images and 1 labels"),
        (np.zeros((2, 28, 28)), [1, 10], "at most ten classes, 0 to 9.*Got a label of 10"),
        (np.zeros((2, 28, 7)), [1, 2], "at least 8 pixels in height and width.* Got 28x7"),
    ],
)
def test_files_that_do_not_fit(tmp_path, images, labels, message):
    write_idx_folder(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        decoy_mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("labels", idx_bytes([[1, 2]]), "must be an idx file of 1-dimensional bytes.* Got 0000 0802"),
        ("labels", b"<html>", ".* Got 3c68 746d"),
        ("labels", b"", "must be an idx file"),
        ("labels", idx_bytes([1, 2])[:-1], "must hold 2 values, as its header says. Got 1"),
        ("labels.gz", b"not gzip", "cannot be read .*Copy the file again"),
        ("labels.gz", gzip.compress(idx_bytes([1, 2]), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_idx(tmp_path / name, ndim=1)

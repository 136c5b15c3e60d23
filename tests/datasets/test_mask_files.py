"""Masks in files that other programs read, against decoders of their own."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from lvlm_va.datasets import open_image_folder
from lvlm_va.datasets.mask_files import MASK_FORMATS, NamedMasks, coco, run_lengths, write_masks
from lvlm_va.datasets.mask_folder import with_mask_folder

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def decode(counts, height, width):
    """Paint run after run, pixel by pixel, down the columns."""
    mask, at, value = np.zeros((height, width), bool), 0, False
    for count in counts:
        for position in range(at, at + count):
            mask[position % height, position // height] = value
        at, value = at + count, not value
    assert at == height * width
    return mask


@given(MASKS)
def test_run_lengths_are_those_of_coco(mask):
    counts = run_lengths(mask)
    assert all(isinstance(count, int) for count in counts)
    assert all(count > 0 for count in counts[1:])
    np.testing.assert_array_equal(decode(counts, *mask.shape), mask)


def table(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def named(masks, ids=None, rows=None):
    n = len(masks)
    ids = [f"a/{i}.png" for i in range(n)] if ids is None else ids
    return NamedMasks(
        np.arange(n) if rows is None else np.array(rows), ids, np.asarray(masks), ["critic"] * n
    )


@given(st.integers(1, 4).flatmap(lambda n: arrays(bool, (n, 5, 7))))
def test_a_coco_data_set(masks):
    rows = [10 + 3 * i for i in range(len(masks))]
    found = json.loads(json.dumps(coco(named(masks, rows=rows))))
    assert [image["id"] for image in found["images"]] == rows
    by_image = {annotation["image_id"]: annotation for annotation in found["annotations"]}
    assert len(by_image) == len(found["annotations"]) == masks.any((1, 2)).sum()
    for row, mask in zip(rows, masks, strict=True):
        if not mask.any():
            assert row not in by_image
            continue
        annotation = by_image[row]
        height, width = annotation["segmentation"]["size"]
        np.testing.assert_array_equal(decode(annotation["segmentation"]["counts"], height, width), mask)
        assert annotation["area"] == mask.sum()
        left, top, wide, high = annotation["bbox"]
        assert mask[top : top + high, left : left + wide].sum() == mask.sum()
        for edge in (mask[top], mask[top + high - 1], mask[:, left], mask[:, left + wide - 1]):
            assert edge.any()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_pycocotools_reads_it(tmp_path):
    tools = pytest.importorskip("pycocotools.coco")
    masks = np.random.default_rng(0).random((6, 13, 8)) > 0.6
    masks[2] = False
    data = tools.COCO(str(write_masks(named(masks), tmp_path, "coco")))
    assert data.getImgIds() == list(range(6))
    for row, mask in enumerate(masks):
        marks = data.loadAnns(data.getAnnIds(imgIds=[row]))
        assert len(marks) == mask.any()
        for mark in marks:
            np.testing.assert_array_equal(data.annToMask(mark).astype(bool), mask)


def test_png_files_come_back_as_masks(tmp_path):
    ids = ["a/7.jpg", "a/7.png", "b/8.TIFF", "b/9.gif"]
    for name in ids:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (7, 5), 9).save(tmp_path / "images" / name)
    masks = np.random.default_rng(0).random((4, 5, 7)) > 0.5
    home = write_masks(named(masks, ids), tmp_path / "out", "png")
    assert home == tmp_path / "out" / "masks"
    images = open_image_folder(tmp_path / "images", None, image_size=(5, 7))
    found = with_mask_folder(images, home)
    np.testing.assert_array_equal(found.read_masks(), masks[[ids.index(name) for name in found.image_ids]])
    rows = table(tmp_path / "out" / "masks.csv")
    assert [row["image_id"] for row in rows] == ids
    for row, mask in zip(rows, masks, strict=True):
        assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / row["file"])))) <= {0, 255}
        assert int(row["n_pixels"]) == mask.sum()
    with pytest.raises(ValueError, match="must be new or empty"):
        write_masks(named(masks, ids), tmp_path / "out", "png")


def test_numpy_s_file(tmp_path):
    masks = np.random.default_rng(0).random((3, 5, 7)) > 0.5
    np.testing.assert_array_equal(np.load(write_masks(named(masks), tmp_path, "npy")), masks)
    assert [row["row"] for row in table(tmp_path / "masks.csv")] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "name", ["../out", "/etc/x", "a//b", "a\\b", "c:x", "x" * 300, "a\0b", "a/../b", "a/./b"]
)
def test_names_that_lead_elsewhere(tmp_path, name):
    masks = np.ones((1, 2, 2), bool)
    with pytest.raises(ValueError, match="below a folder"):
        write_masks(named(masks, [name]), tmp_path, "png")
    assert not list(tmp_path.rglob("*.png"))
    for form in ("npy", "coco"):
        write_masks(named(masks, [name]), tmp_path, form)


def test_names_that_cannot_be_told_apart(tmp_path):
    masks = np.ones((3, 2, 2), bool)
    with pytest.raises(ValueError, match="'7.jpg.png'"):
        write_masks(named(masks, ["7.jpg", "7.png", "7.jpg.png"]), tmp_path, "png")


def test_an_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="'format' argument.*Did you mean 'coco'"):
        write_masks(named(np.ones((1, 2, 2), bool)), tmp_path, "cocoa")
    assert MASK_FORMATS == ("png", "npy", "coco")

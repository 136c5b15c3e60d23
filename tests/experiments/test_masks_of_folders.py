"""Masks that people drew, in files beside the images."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lvlm_va.datasets import open_image_folder
from lvlm_va.datasets.mask_folder import mask_names, with_mask_folder


def draw(path, size=(16, 16), corner=3):
    pixels = np.zeros(size, np.uint8)
    pixels[:corner, :corner] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def masks(tmp_path):
    for i in range(0, 48, 2):
        draw(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "masks" / "notes.txt").write_text("by hand")
    return tmp_path / "masks"


def test_masks_in_a_folder_align_without_a_critic(align, masks, tmp_path):
    done = align(tmp_path / "run", "--masks", masks)
    assert done.returncode == 0, done.stderr
    assert "Drawn masks: 18, irrelevant (6 of other images left out)." in done.stdout
    assert "before: accuracy" in done.stdout
    assert (tmp_path / "run" / "aligned.safetensors").is_file()
    assert {"before", "after", "seconds"} <= json.loads(
        (tmp_path / "run" / "metrics.json").read_bytes()
    ).keys()
    assert json.loads((tmp_path / "run" / "latest.json").read_bytes())["n_drawn_masks"] == 18
    for stage in ("train", "align"):
        (file,) = (tmp_path / "run").glob(f"{stage}-*.safetensors")
        before = file.stat().st_mtime_ns
        assert align(tmp_path / "run", "--masks", masks).returncode == 0
        assert file.stat().st_mtime_ns == before


def test_masks_in_a_folder_beside_regions(align, masks, tmp_path):
    done = align(tmp_path / "run", "--irrelevant", "corners", "--masks", masks)
    assert done.returncode == 0, done.stderr
    assert "verdicts: {" in done.stdout
    assert json.loads((tmp_path / "run" / "latest.json").read_bytes())["n_drawn_masks"] == 18


def test_masks_that_the_table_names(align, scans, masks, tmp_path):
    root = shutil.copytree(scans, tmp_path / "scans")
    shutil.copytree(masks, root / "drawn")
    header, *lines = (root / "labels.csv").read_text().splitlines()
    rows = [f"{line},{f'drawn/{i}.png' if i % 2 == 0 else ''}" for i, line in enumerate(lines)]
    (root / "labels.csv").write_text("\n".join([header + ",mask_path", *rows]))
    both = {}
    for kind in ("--masks", "--relevant-masks"):
        done = align(tmp_path / kind, kind, "table", data=root)
        assert done.returncode == 0, done.stderr
        both[kind] = json.loads((tmp_path / kind / "metrics.json").read_bytes())["before"]["alignment"]
    # Of the same net before alignment, what one counts as spurious is what the other does not; in half of the test
    # images nothing is drawn, and nothing spurious.
    assert sum(both.values()) == pytest.approx(0.5 * 1 + 0.5 * 2)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((), "or masks"),
        (("--critic", "tiny", "--irrelevant", "corners"), "or masks"),
        (("--masks", "nowhere"), "nowhere"),
        (("--masks", "table"), "of training images. Got none"),
        (("--masks", "."), "another than that of the images"),
    ],
)
def test_what_does_not_fit_is_said_first(align, tmp_path, more, says):
    done = align(tmp_path / "run", *more)
    assert done.returncode in (2, 3)
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


@pytest.fixture
def photos(tmp_path):
    for name in ("a/7.jpg", "a/7.png", "b/8.JPG", "b/p.1"):
        path = tmp_path / "photos" / name
        draw(path.with_name(path.name + ".png" if path.suffix == ".1" else path.name))
    (tmp_path / "photos" / "b" / "p.1.png").rename(tmp_path / "photos" / "b" / "9.tif.png")
    return open_image_folder(tmp_path / "photos", None, image_size=(16, 16))


def test_names_of_masks():
    assert mask_names(["a/7.jpg", "8.PNG", "p.1", "q"]) == [
        ("a/7.png", "a/7.jpg.png"),
        ("8.png", "8.PNG.png"),
        ("p.1.png", "p.1.png"),
        ("q.png", "q.png"),
    ]


def test_each_mask_goes_to_its_image(photos, tmp_path):
    draw(tmp_path / "m" / "a" / "7.jpg.png", corner=2)
    draw(tmp_path / "m" / "b" / "8.PNG", corner=4)
    draw(tmp_path / "m" / ".trash" / "other.png")
    found = with_mask_folder(photos, tmp_path / "m")
    assert [name for name, masked in zip(found.image_ids, found.masked, strict=True) if masked] == [
        "a/7.jpg",
        "b/8.JPG",
    ]
    masks = dict(zip(found.image_ids, found.read_masks(), strict=True))
    assert [int(masks[name].sum()) for name in ("a/7.jpg", "a/7.png", "b/8.JPG")] == [4, 0, 16]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "Got none"),
        (["a/6.png"], "Got a/6.png"),
        (["b/8.jpg"], "Got b/8.jpg"),
        (["a/7.png"], "might be that of another image"),
        (["b/8.png", "b/8.JPG.png"], "not its only one"),
    ],
)
def test_masks_that_belong_to_no_image_or_two_are_refused(photos, tmp_path, files, says):
    (tmp_path / "m").mkdir()
    for name in files:
        draw(tmp_path / "m" / name)
    with pytest.raises(ValueError, match=says):
        with_mask_folder(photos, tmp_path / "m")


def test_a_mask_of_another_size_is_refused(align, tmp_path):
    draw(tmp_path / "masks" / "2.png", size=(8, 8))
    done = align(tmp_path / "run", "--masks", tmp_path / "masks")
    assert done.returncode == 2
    assert "16x16 pixels. Got 8x8" in done.stderr

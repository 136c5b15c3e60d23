"""Which images of a folder are trained on, and which measured."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from lvlm_va import RegionCritic
from lvlm_va.experiments.align_folder import align_folder


@pytest.fixture
def table(scans, tmp_path):
    """A copy of the scans whose table can be rewritten, row by row."""
    root = shutil.copytree(scans, tmp_path / "scans")
    lines = (root / "labels.csv").read_text().splitlines()

    def rewrite(header, row):
        rows = [row(i, line.split(",")) for i, line in enumerate(lines[1:])]
        (root / "labels.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")
        return root

    return rewrite


def test_validation_images_are_said_to_be_left_out(align, table, tmp_path):
    names = ("Training", "VAL", "testing")
    root = table("path,label,split", lambda i, row: [*row[:2], names[(i >= 32) + (i >= 36)]])
    done = align(tmp_path / "run", "--irrelevant", "corners", "--dry-run", data=root)
    assert done.returncode == 0, done.stderr
    assert "Left out: 4 images for validation." in done.stdout


@pytest.mark.parametrize("names", [("train", "tset"), ("test", "test"), ("train", "fold 2")])
def test_unknown_splits_are_refused(align, table, tmp_path, names):
    root = table("path,label,split", lambda i, row: [*row[:2], names[i > 30]])
    done = align(tmp_path / "run", "--irrelevant", "corners", data=root)
    assert done.returncode != 0
    assert "splits must be 'train', 'test' and 'validation'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"), [((), "16 became black and 4096"), (("--window", 0, 5000), "0 became black and 5000")]
)
def test_the_window_is_said(align, table, tmp_path, more, said):
    root = table("path,label,split", lambda i, row: row[:3])
    for path in root.glob("*.png"):
        pixels = np.asarray(Image.open(path), np.uint16)
        Image.fromarray(pixels * 16 + 16).save(path)
    done = align(tmp_path / "run", "--irrelevant", "corners", "--dry-run", *more, data=root)
    assert done.returncode == 0, done.stderr
    assert f"In images of more than 8 bits {said} white (window)." in done.stdout


def test_how_images_of_another_aspect_are_made_to_fit(align, tmp_path):
    done = align(tmp_path / "run", "--irrelevant", "corners", "--dry-run", "--fit", "cut")
    assert done.returncode != 0
    assert "'fit' argument must be one of" in done.stderr
    done = align(tmp_path / "run", "--irrelevant", "corners", "--dry-run", "--fit", "pad")
    assert done.returncode == 0, done.stderr


def aligned_folder(root, out, **parameters):
    return align_folder(
        root, module="mlp", critic=RegionCritic({"irrelevant": ["corners"]}), specifications={}, out=out,
        image_size=(16, 16), mode="L", table="labels.csv", columns={}, extension="", echo=lambda line: None,
        parameters={
            "n_align": 40, "epochs": 2, "align_epochs": 2, "random_state": 0, "segmenter": "grid", **parameters
        },
    )  # fmt: skip


@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_images_stop_training_with_early_stopping_alone(table, tmp_path, early_stopping):
    root = table("path,label,split", lambda i, row: [*row[:2], ("train", "val")[i >= 42]])
    clf = aligned_folder(root, tmp_path / "run", early_stopping=early_stopping)
    for stage in ("train", "align"):
        assert bool(clf.history_[stage][0].validation_loss) == early_stopping
    assert bool(clf.history_["align"][0].validation_score) == early_stopping


@pytest.mark.parametrize("n_patients", [1, 9])
def test_early_stopping_goes_by_the_tables_patients(table, tmp_path, n_patients):
    """Each patient has the four images in a row; nobody knows whose the first two are."""
    whose = np.array([f"p{i // 4 % n_patients}" for i in range(48)])
    whose[:2] = whose[0] if n_patients == 1 else ""
    root = table("path,label,patient", lambda i, row: [*row[:2], whose[i]])
    clf = aligned_folder(root, tmp_path / "run", early_stopping=True)
    aligned = np.isin(np.arange(48), clf.alignment_data_.rows.numpy())
    held_out = np.isin(np.arange(48), clf.alignment_set_) & ~aligned
    assert held_out.any()
    if n_patients > 1:
        assert not {*whose[aligned]} & {*whose[held_out]} - {""}


def test_a_patient_on_both_sides_is_said(align, table, tmp_path):
    root = table("path,label,split,patient", lambda i, row: [*row[:3], str(i % 44)])
    with pytest.warns(UserWarning, match="of different patients. Got 4 in both, such as '0'"):
        align(tmp_path / "run", "--irrelevant", "corners", "--dry-run", data=root)

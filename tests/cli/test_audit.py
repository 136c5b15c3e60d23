"""``lvlm-va audit`` on a folder of images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.auditing.scenes import scene

NET = """
from tests.auditing.scenes import Reads

def make():
    return Reads(10, 2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    images, labels, _ = scene(80)
    rows = ["path,label,split"]
    (tmp_path / "scans").mkdir()
    for i, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True)):
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(tmp_path / "scans" / f"{i}.png")
        rows.append(f"{i}.png,{'ill' if label else 'well'},{'train' if i < 20 else 'test'}")
    (tmp_path / "scans" / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "audited.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "scans"


def test_a_folder_is_audited_to_a_page(lvlm_va, folder, tmp_path):
    options = ("--module", "audited:make", "--image-size", 24, 24, "--grey", "--n-pairs", 30)
    done = lvlm_va(
        "audit", folder, *options, "--classes", "well,ill", "--split", "test", "--out", tmp_path / "a"
    )
    assert done.returncode == 0, done.stderr
    assert "at the top left" in done.stdout
    found = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert found["n_images"] == 60
    assert found["accuracy"] == 1.0
    assert found["families"][0]["alarming"]
    assert "“ill”" in (tmp_path / "a" / "audit.html").read_text(encoding="utf-8")


def test_a_split_that_there_is_not(lvlm_va, folder, tmp_path):
    done = lvlm_va("audit", folder, "--module", "audited:make", "--split", "tset", "--out", tmp_path / "a")
    assert done.returncode == 2
    assert "no images of 'tset'" in done.stderr

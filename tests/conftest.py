"""Data small enough to fit an estimator in about a second."""

from __future__ import annotations

import csv
import os
import signal
import sys

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before SciPy: scikit-learn skips one of its checks without it

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lvlm_va.cli.app import main
from lvlm_va.datasets import DecoyData, decoy_digits
from lvlm_va.propagation import learner


@pytest.fixture(scope="session")
def digits() -> DecoyData:
    """Return 200 decoyed digits of all ten classes."""
    data = decoy_digits("train")
    return DecoyData(data.images[:200], data.labels[:200], data.masks[:200], data.groups[:200])


def pytest_configure() -> None:
    """Have Ctrl+C end tests and what they start, also where a shell that started them in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def usual_trees() -> int:
    """Have verdicts learned by as many trees as leave none of them out of no bag; return how many are usual."""
    usual, learner.N_TREES = learner.N_TREES, 40
    return usual


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Return 60 grey 1x8x8 images of two classes: bright on the left, or on the right."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.uniform(0, 0.3, (60, 1, 8, 8))
    X[y == 0, :, :, :4] += 0.6
    X[y == 1, :, :, 4:] += 0.6
    return X, y


@pytest.fixture
def lvlm_va(monkeypatch, capsys):
    """Run the command line in this process, which has imported torch already."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lvlm-va", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=stop.value.code, stdout=captured.out, stderr=captured.err)

    return run


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of 48 grey images of two classes with a bright tag in a corner of one class."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label", "split", "group"])
        for i in range(48):
            label, split = ("ill", "well")[i % 2], "train" if i < 36 else "test"
            pixels = rng.integers(0, 60, (16, 16), dtype=np.uint8)
            pixels[6:10, 6 + 2 * (i % 2) : 8 + 2 * (i % 2)] += 120
            tagged = label == "ill" if split == "train" else i % 4 < 2
            if tagged:
                pixels[:3, :3] = 255
            Image.fromarray(pixels).save(root / f"{i}.png")
            table.writerow([f"{i}.png", label, split, f"{label}, {'tag' if tagged else 'no tag'}"])
    (root / "mynets.py").write_text(
        "from torch import nn\n"
        "def make_net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 2))\n"
    )
    return root


@pytest.fixture
def align(scans, lvlm_va, monkeypatch):
    monkeypatch.chdir(scans)

    def run(out, *more, data=scans):
        return lvlm_va(
            "align", data, "--module", "mynets:make_net", "--image-size", 16, 16, "--grey", "--n-align", 12,
            "--epochs", 3, "--align-epochs", 2, "--out", out, *more,
        )  # fmt: skip

    return run

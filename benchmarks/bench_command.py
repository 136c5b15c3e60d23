"""`lvlm-va align` on a folder of images, against plain fine-tuning of the same net for as many epochs.

Floor, by the default settings: a plain step costs 3 forward-equivalents for each of its rows, 30,000 in 10 epochs of
1,000 images. Alignment fills half of each batch with images that have a mask, drawn again as needed, so an epoch has
twice as many batches, and each of those images takes 3 forward-equivalents more: 3 times. Explaining 300 images against
20 references takes 6,000 backwards to the input, 0.2 times. So 3.2 is what no implementation of these settings can go
below; decoding, judging, the comparison of before and after and the report come on top.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from benchmarks.compare import Compare
from lvlm_va.modules.built_in import resnet8

pytestmark = pytest.mark.filterwarnings("ignore")

IMAGES, SIDE, ALIGNED, EPOCHS, BATCH, LR = 1000, 64, 300, 10, 32, 1e-4


def make_folder(root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write discs of two sizes on noise, with a mark in a corner of one class; return them as they will be read."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    images, labels = rng.integers(0, 90, (IMAGES, SIDE, SIDE, 3), np.uint8), np.arange(IMAGES) % 2
    for image, label in zip(images, labels, strict=True):
        image[np.hypot(row, column) < 8 + 6 * label] += 90
        image[:8, :8] = 255 * label
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label"])
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(root / f"{i}.png")
            table.writerow([f"{i}.png", label])
    return torch.from_numpy(images).movedim(3, 1).float() / 255, torch.from_numpy(labels)


def make_net() -> torch.nn.Module:
    return resnet8((3, SIDE, SIDE), 2)


def fine_tune(images: torch.Tensor, labels: torch.Tensor, weights: Path) -> None:
    net = make_net()
    net.load_state_dict(torch.load(weights))
    optimizer = torch.optim.Adam(net.train().parameters(), LR)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(images[rows]).logits, labels[rows]).backward()
            optimizer.step()


def test_align_plain_finetuning(compare: Compare, tmp_path: Path) -> None:
    from lvlm_va.cli.app import main

    images, labels = make_folder(tmp_path)
    weights = tmp_path / "net.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(make_net().state_dict(), weights)
    runs = iter(range(99))

    def ours() -> None:
        command = [
            "lvlm-va",
            "align",
            tmp_path,
            "--module",
            "benchmarks.bench_command:make_net",
            "--weights",
            weights,
            "--irrelevant",
        ]
        command += ["corners", "--image-size", SIDE, SIDE, "--n-align", ALIGNED, "--align-epochs", EPOCHS]
        command += ["--batch-size", BATCH, "--lr", LR, "--out", tmp_path / f"run {next(runs)}"]
        with mock.patch.object(sys, "argv", list(map(str, command))), pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0

    compare(
        ours,
        lambda: fine_tune(images, labels, weights),
        rounds=2,
        note=f"{IMAGES} images of {SIDE} x {SIDE}, ResNet-8, {EPOCHS} epochs; ours reads the files, explains, has "
        f"{ALIGNED} judged by their place, aligns and compares; plain training has the images in memory",
    )

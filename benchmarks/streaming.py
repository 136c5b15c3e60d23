"""A data set that does not fit in memory: how much a fit on it holds, and how fast its images come.

Run as ``python -m benchmarks.streaming``. Writes a folder of JPEG files, 22,000 of 224 x 224 pixels unless told
otherwise (13 GB as float32; the size of ISIC), and fits on it in a process of its own: entropy of all images, an
alignment set of 300, attribution, segmentation, critique by regions and alignment of a small convolutional net. Prints
the peak memory of that process and its workers together, and the throughput of the input path against a bare DataLoader
over the same Dataset.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.data.stored_images import ImageReader, StoredImages, image_batches
from lvlm_va.datasets import open_image_folder
from lvlm_va.propagation import Propagation

CLASSES = ("benign", "malignant")
MEBIBYTE = 2**20


def make_folder(root: Path, n: int, size: int) -> None:
    """Write images of blotched skin with a lesion, and a bright tag in a corner of most of one class."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:size, :size].astype(np.float32) / size
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label"])
        for i in range(n):
            label = int(rng.integers(2))
            coarse = rng.normal((225, 180, 160), 12, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            pixels = np.array(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
            middle, radius = rng.normal(0.5, 0.05, 2), rng.uniform(0.12, 0.18, 2) * (1, 1 + 0.4 * label)
            inside = ((row - middle[0]) / radius[0]) ** 2 + ((column - middle[1]) / radius[1]) ** 2 < 1
            pixels[inside] = pixels[inside] // 2
            if label == 0 and rng.random() < 0.8:
                pixels[: size // 8, : size // 8] = (40, 90, 200)
            name = f"{i:06d}.jpg"
            Image.fromarray(pixels).save(root / name, quality=85)
            table.writerow([name, CLASSES[label]])


def make_net() -> nn.Module:
    """Return a small net whose first layer makes 224 x 224 pixels few."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=4),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, 2),
    )


def fit(folder: Path, size: int, options: argparse.Namespace) -> dict[str, float]:
    """Fit on the folder; return seconds by stage and in all, and the share of effect judged spurious."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    data = open_image_folder(folder, image_size=(size, size))
    propagate = Propagation(n_images=options.propagate) if options.propagate else False
    classifier = LVLMVAClassifier(
        make_net,
        critic=RegionCritic({"irrelevant": ["corners"]}),
        n_align=300,
        attribution=options.attribution,
        segmenter=options.segmenter,
        propagate=propagate,
        epochs=options.epochs,
        align_epochs=2,
        batch_size=32,
        num_workers=options.workers,
        run_dir=options.run_dir,
        random_state=0,
    ).fit(data)
    if not isinstance(classifier.job_.data.images, StoredImages):
        raise ValueError(f"{len(data)} images of {size} x {size} pixels fit in memory; take more.")
    seconds = {**classifier.seconds_, "in all": time.perf_counter() - start}
    return {**seconds, "spurious share": classifier.spurious_share_[0]}


class Watch:
    """The largest memory that a process and all that it started held together, in bytes.

    Attributes
    ----------
    pss : int
        Proportional set size: memory that several share counts once.
    rss : int
        Resident set size: memory that several share, such as torch's code, counts once for each.
    """

    def __init__(self) -> None:
        self.pss = self.rss = 0

    def look(self, process: int) -> None:
        """Read what is held now."""
        pss = rss = 0
        for member in _tree(process):
            try:
                lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            except OSError:  # it has ended
                continue
            held = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
            pss, rss = pss + held["Pss"], rss + held["Rss"]
        self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)


def _tree(process: int) -> list[int]:
    members = [process]
    for member in members:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                members += map(int, children.read_text().split())
            except OSError:
                continue
    return members


def measure_memory(folder: Path, options: argparse.Namespace) -> tuple[Watch, dict[str, float]]:
    """Fit in a process of its own; return what it and its workers held, and what `fit` returns."""
    # Not by multiprocessing, which would hand its own way of starting processes down to the workers.
    given = {**vars(options), "folder": folder, "only_fit": None}
    words = [sys.executable, "-m", "benchmarks.streaming", "--only-fit"]
    for name, value in given.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    watch = Watch()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            watch.look(process.pid)
            time.sleep(0.2)
        found = json.loads(process.stdout.read())
    return watch, found


def measure_throughput(
    folder: Path, options: argparse.Namespace, rounds: int = 11
) -> tuple[float, float, list[float]]:
    """Return images per second of our input path and of a bare DataLoader, and their ratio in each round.

    Both give batches of 32 as floats in [0, 1], of which one is held while the next comes. They take turns.
    """
    torch.set_num_threads(1)
    every = open_image_folder(folder, image_size=(options.size, options.size))
    part = every.select(np.arange(len(every)) < options.throughput_images)
    cpu = torch.device("cpu")

    def ours() -> Iterator[torch.Tensor]:
        return image_batches(StoredImages(ImageReader(part, options.workers)), 32, cpu, torch.float32)

    def bare() -> Iterator[torch.Tensor]:
        loader = DataLoader(part, batch_size=32, num_workers=options.workers)
        return (images.float().div_(255) for images, _ in loader)

    found: dict[Any, list[float]] = {ours: [], bare: []}
    for number in range(rounds + 1):  # the first warms up
        for path in (ours, bare) if number % 2 else (bare, ours):
            start = time.perf_counter()
            deque(path(), maxlen=1)
            found[path].append(len(part) / (time.perf_counter() - start))
    ratios = [mine / theirs for mine, theirs in zip(found[ours][1:], found[bare][1:], strict=True)]
    return statistics.median(found[ours][1:]), statistics.median(found[bare][1:]), ratios


@contextmanager
def _folder(given: Path | None) -> Any:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "images"


def main() -> None:
    """Write the folder, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=22_000, help="images")
    parser.add_argument("--size", type=int, default=224, help="their height and width")
    parser.add_argument("--workers", type=int, default=2, help="processes that read")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of training before alignment")
    parser.add_argument(
        "--propagate", type=int, default=0, help="images to extend the verdicts to; 0 for none"
    )
    parser.add_argument("--attribution", default="deeplift_shap", help="as in LVLMVAClassifier")
    parser.add_argument("--segmenter", default="ppeps_wgm", help="as in LVLMVAClassifier")
    parser.add_argument("--throughput-images", type=int, default=1600, help="images in a timed pass")
    parser.add_argument("--folder", type=Path, help="where the images are, or are to be kept")
    parser.add_argument("--run-dir", type=Path, help="run directory of the fit")
    parser.add_argument(
        "--only-fit", action="store_true", help="fit on the folder, and print what came of it"
    )
    options = parser.parse_args()
    if options.only_fit:
        sys.stdout.write(json.dumps(fit(options.folder, options.size, options)))
        return
    with _folder(options.folder) as folder:
        if not (folder / "labels.csv").exists():
            make_folder(folder, options.n, options.size)
        ours, bare, ratios = measure_throughput(folder, options)
        watch, facts = measure_memory(folder, options)
    gibibytes = 12 * options.n * options.size**2 / 2**30
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in facts.items())
    sys.stdout.write(
        f"{options.n:,} images of {options.size} x {options.size} pixels ({gibibytes:.1f} GiB as float32), "
        f"{options.workers} workers\n"
        f"images per second: ours {ours:.0f}, bare DataLoader {bare:.0f}; ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f})\n"
        f"peak memory of all processes: PSS {watch.pss / MEBIBYTE:,.0f} MiB, RSS {watch.rss / MEBIBYTE:,.0f} MiB\n"
        f"seconds: {numbers}\n"
    )


if __name__ == "__main__":
    main()

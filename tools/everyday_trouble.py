"""What goes wrong every day, before and after: 16 bits, rare classes, classes in another order, normalised images.

    python -m tools.everyday_trouble [--seeds 3]

Prints the table of docs/how_to/everyday_trouble.md. All images are drawn or ship with scikit-learn; critics know
the truth; some minutes on two cores. Figures are on test images whose shortcut tells nothing, means over seeds.
"""

from __future__ import annotations

import argparse
import copy
import csv
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.datasets import DecoyData, decoy_digits
from lvlm_va.experiments.align_folder import align_folder
from lvlm_va.metrics import group_accuracies
from lvlm_va.report import read_run

DIGITS = {"epochs": 40, "align_epochs": 40, "batch_size": 32}


def worst_class(clf: LVLMVAClassifier, X: NDArray[Any], y: NDArray[Any]) -> float:
    """Return the accuracy of the class that fares worst."""
    return group_accuracies(y, clf.predict(X), groups=y.astype(str)).worst


def unaligned(clf: LVLMVAClassifier) -> LVLMVAClassifier:
    """Return a classifier as it was before alignment."""
    before = copy.copy(clf)
    before.module_ = clf.unaligned_module_
    return before


def scans(
    n: int, rng: np.random.Generator, *, tagged: bool
) -> tuple[NDArray[np.uint16], NDArray[Any], NDArray[np.bool_]]:
    """Return 16-bit images of a bone with a gap, at left or right, within 12 bits, and a saturated tag in a corner.

    In training all of class 1 and none of class 0 have the tag; in the test half of each class.
    """
    y = rng.integers(0, 2, n)
    with_tag = y == 1 if tagged else rng.random(n) < 0.5
    X = rng.normal(900, 120, (n, 32, 32))
    X[:, 10:22] += 900
    masks = np.zeros((n, 32, 32), bool)
    for i in range(n):
        column = rng.integers(4, 10) + 14 * y[i]
        X[i, 10:22, column : column + 3] -= 450 + 150 * rng.random()
        if with_tag[i]:
            masks[i, 1:6, 1:6] = True
    X = X.clip(0, 4095)
    X[masks] = 65535
    return X.astype(np.uint16), y, masks


def sixteen_bits(seed: int) -> tuple[float, float]:
    """Return the accuracy before and after alignment of a folder of 16-bit images."""
    rng = np.random.default_rng(seed)
    parts = {split: scans(n, rng, tagged=split == "train") for split, n in (("train", 400), ("test", 400))}
    with TemporaryDirectory() as name:
        root = Path(name)
        with (root / "labels.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["path", "label", "split"])
            for split, (X, y, _) in parts.items():
                for i, label in enumerate(y):
                    Image.fromarray(X[i]).save(root / f"{split}{i}.png")
                    table.writerow([f"{split}{i}.png", ("well", "ill")[label], split])
        parameters = {
            "n_align": 100, "epochs": 20, "align_epochs": 20, "batch_size": 32, "n_references": 5,
            "classes": ["well", "ill"], "random_state": seed,
        }  # fmt: skip
        clf = align_folder(
            root, module="cnn", critic=OracleCritic(parts["train"][2]), specifications={}, out=root / "run",
            image_size=(32, 32), mode="L", table="labels.csv", columns={}, extension="", parameters=parameters,
            echo=lambda line: None,
        )  # fmt: skip
        measures = read_run(root / "run").measures
        assert measures is not None
        assert clf.classes_.tolist() == ["well", "ill"]
        return measures.before.groups.overall, measures.after.groups.overall


def rare_class(seed: int) -> tuple[float, float]:
    """Return the accuracy of the worst class before and after, where one in twenty images is of class 1."""
    data, test = decoy_digits("train", random_state=seed), decoy_digits("test", random_state=seed)
    often, rarely = (np.flatnonzero(data.labels % 2 == parity) for parity in (0, 1))
    rows = np.sort(np.concatenate([often, rarely[: round(len(often) / 19)]]))
    clf = LVLMVAClassifier(
        "mlp", critic=OracleCritic(data.masks[rows]), n_align=60, random_state=seed, **DIGITS
    )
    clf.fit(data.images[rows], data.labels[rows] % 2)
    y = test.labels % 2
    return worst_class(unaligned(clf), test.images, y), worst_class(clf, test.images, y)


def another_order(seed: int) -> tuple[float, float]:
    """Return the accuracy of a trained net taken in the wrong order of classes, and with `classes` in the right one."""
    data, test = digits(seed)
    trained = LVLMVAClassifier("mlp", random_state=seed, **DIGITS).fit(data.images, data.labels)
    order = np.random.default_rng(seed).permutation(10)
    net = trained.module_
    last = [layer for layer in net.modules() if hasattr(layer, "out_features")][-1]
    last.weight.data, last.bias.data = last.weight.data[order], last.bias.data[order]
    try:
        LVLMVAClassifier(net, epochs=0).fit(data.images, data.labels)
        raise AssertionError("A net in another order was not refused.")
    except ValueError as error:
        assert "order of the classes" in str(error)
    right = LVLMVAClassifier(net, epochs=0, classes=order).fit(data.images, data.labels)
    reference = LVLMVAClassifier("mlp", random_state=seed, **DIGITS).fit(data.images, data.labels)
    assert (right.predict(test.images) == reference.predict(test.images)).all()
    return float((order[reference.predict(test.images)] == test.labels).mean()), right.score(
        test.images, test.labels
    )


def normalised(seed: int) -> tuple[float, float]:
    """Return the accuracy of a net trained on normalised images, on images in [0, 1] without and with `preprocess`."""
    data, test = digits(seed)
    given = {"mean": 0.5, "std": 0.25}
    net = (
        LVLMVAClassifier("mlp", preprocess=given, random_state=seed, **DIGITS)
        .fit(data.images, data.labels)
        .module_
    )
    plain = LVLMVAClassifier(net, epochs=0).fit(data.images, data.labels)
    known = LVLMVAClassifier(net, epochs=0, preprocess=given).fit(data.images, data.labels)
    return plain.score(test.images, test.labels), known.score(test.images, test.labels)


def digits(seed: int) -> tuple[DecoyData, DecoyData]:
    """Return decoyed digits for training and test."""
    return decoy_digits("train", random_state=seed), decoy_digits("test", random_state=seed)


TROUBLES = {
    "16-bit scans with a saturated tag (`lvlm-va align`): accuracy before and after alignment": sixteen_bits,
    "1 image in 20 is of class 1, default sampler: worst class before and after alignment": rare_class,
    "a trained net with its classes in another order: accuracy as it is (refused), and with `classes=`": another_order,
    "a net trained on normalised images: accuracy without and with `preprocess=`": normalised,
}


def rows(seeds: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| trouble | before | after |"
    yield "|---|---:|---:|"
    for name, run in TROUBLES.items():
        before, after = np.mean([run(seed) for seed in range(100, 100 + seeds)], axis=0)
        yield f"| {name} | {before:.3f} | {after:.3f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    warnings.simplefilter("ignore")
    for line in rows(parser.parse_args().seeds):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

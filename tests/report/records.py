"""Runs made up for the tests of what is written about them."""

from __future__ import annotations

import numpy as np
import torch

from lvlm_va.attribution import Explanation
from lvlm_va.critique import Critique, SegmentVerdict, VerdictTable
from lvlm_va.report import Measured, Measures, RunRecord
from lvlm_va.rounds.outcome import Outcome
from lvlm_va.segmentation import Segmentation

CLASSES = ("ill", "well")


def make_record(n: int = 6, side: int = 12, channels: int = 1, **changes) -> RunRecord:
    """Return a run of n images: the tag at the top left is spurious, the middle counts, the last segment is unsure."""
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 200, side)[:, None] * np.ones(side)
    images = (smooth + rng.uniform(0, 50, (n, channels, side, side))).astype(np.uint8)
    labels = np.arange(n) % 2
    segments = np.zeros((side, side), dtype=np.int64)
    segments[: side // 3, : side // 3] = 1
    segments[side // 3 : -side // 3] = 2
    segments[-side // 3 :, side // 2 :] = 3
    effect = torch.from_numpy(rng.normal(0, 1, (n, channels, side, side))).float()
    effect[:, :, : side // 3, : side // 3] += 3
    means = torch.tensor([[0.16, 0.16], [0.5, 0.5], [0.85, 0.75]], dtype=torch.float64)
    zeros = torch.zeros(n, dtype=torch.float64)
    ids = tuple(f"scan-{i}.png" for i in range(n))
    verdicts = tuple(
        verdict
        for name in ids
        for verdict in (
            SegmentVerdict(name, 1, "spurious", 0.93, f"Segment 1 covers the tag of {name}.", "model-x"),
            SegmentVerdict(name, 2, "relevant", None, "It is the joint.", "human"),
            SegmentVerdict(name, 3, "unsure", None, "", "model-x", "missing"),
        )
    )
    fields = {
        "class_names": CLASSES,
        "image_ids": ids,
        "indices": np.arange(n),
        "images": images,
        "labels": labels,
        "explanation": Explanation(effect, torch.from_numpy(labels), zeros, zeros, zeros, "deeplift_shap"),
        "segmentation": Segmentation(
            torch.from_numpy(segments).expand(n, -1, -1),
            torch.full((n,), 3),
            torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).expand(n, -1),
            means.expand(n, -1, -1),
            torch.eye(2, dtype=torch.float64).expand(n, 3, -1, -1),
        ),
        "critiques": tuple(Critique(name, f"All that was said of {name}.") for name in ids),
        "verdicts": VerdictTable(verdicts, {"ill": "The joint counts, never the tag."}),
        "masks": np.broadcast_to(segments == 1, (n, side, side)),
        "outcome": Outcome(
            -effect.sum(1), torch.tensor([[0.8, 0.2]]).expand(n, -1), torch.tensor([[0.1, 0.9]]).expand(n, -1)
        ),
        "seconds": {"train": 1.0, "critique": 75.0},
        "parameters": {"critic": "model-x", "epochs": 3},
        "versions": {"lvlm-va": "0.1.0"},
        "n_training_images": 1000,
    }
    return RunRecord(**fields | changes)


def make_measures() -> Measures:
    """Return what 40 test images say: 60 % right before, 90 % after."""
    labels = np.repeat(["ill", "well"], 20)
    groups = np.tile(["tag", "no tag"], 20)
    parts = []
    for n_right, alignment in ((24, 0.4), (36, 0.95)):
        predictions = np.where(np.arange(40) < n_right, labels, "other")
        parts.append(
            Measured.of(labels, predictions, np.char.add(labels, np.char.add(", ", groups)), alignment)
        )
    return Measures("test images", True, *parts)

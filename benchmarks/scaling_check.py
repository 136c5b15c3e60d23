"""Hold the model against a fit: the CPU seconds of each stage, foretold and spent, of images that are in memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from benchmarks.inputs import smooth_images
from benchmarks.scaling_model import Measured, Plan, Stated, stage_times
from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.runs.directory import RunDirectory

PLAN = Plan(128, critiqued=64, propagated=128, epochs=1, align_epochs=1)
NET = "cnn"
# A fit keeps the seconds of segmentation by themselves.
STAGES = {
    "train": ("train",),
    "sample": ("sample",),
    "explain": ("explain", "segment"),
    "propagate": ("propagate",),
    "align": ("align",),
}


@contextmanager
def _cpu_seconds(run: RunDirectory, stage: str) -> Iterator[None]:
    start = time.process_time()
    try:
        yield
    finally:
        run.seconds[stage] = run.seconds.get(stage, 0.0) + time.process_time() - start


def check(measured: Measured) -> str:
    """Return a line for each stage: CPU seconds foretold, CPU seconds spent, and their ratio."""
    torch.set_num_threads(1)
    net = measured.nets[NET]
    host = {**measured.host, "decode": 0.0, "survey": 0.0}
    in_memory = dataclasses.replace(measured, host=host)
    foretold = stage_times(PLAN, net, in_memory, Stated())
    clf = LVLMVAClassifier(
        NET,
        critic=RegionCritic(
            {"irrelevant": [("left", 1.0)]}
        ),  # all is spurious: every row gets its second backward
        n_align=PLAN.critiqued,
        propagate=PLAN.propagated,
        epochs=PLAN.epochs,
        align_epochs=PLAN.align_epochs,
        batch_size=16,
        random_state=0,
    )
    images = smooth_images(PLAN.images, net.channels, net.side)
    with mock.patch.object(RunDirectory, "timed", _cpu_seconds):
        clf.fit(images.numpy(), torch.arange(PLAN.images).numpy() % 10)
    lines = [f"{PLAN.images} images, {NET}: CPU seconds foretold, spent, and foretold / spent"]
    for stage, parts in STAGES.items():
        spent = sum(clf.seconds_.get(part, 0.0) for part in parts)
        seconds = foretold[stage].seconds
        lines.append(f"{stage:<10} {seconds:7.1f} {spent:7.1f} {seconds / spent:6.2f}")
    return "\n".join(lines)

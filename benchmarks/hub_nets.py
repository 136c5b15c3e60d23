"""The method on nets of transformers at 224 pixels: seconds and memory of each stage, and how exact it explains.

Run as ``python -m benchmarks.hub_nets [NAME ...]``. ResNet-50, ViT-B/16, ConvNeXt-T and Swin-T come from their configs,
with random weights and ImageNet's normalisation, and are taken as they are (``epochs=0``). 8 of 32 drawn lesions are
explained against 20 references, cut into regions, judged by who knows the masks, and aligned with for one epoch; a
report is written. Each net has a process of its own; each row is printed as soon as it stands.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from benchmarks.memory import in_fresh_process, watch_peak
from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.datasets import bandaged_lesions
from lvlm_va.runs.directory import RunDirectory

# The defaults of these configs are ResNet-50, ViT-B/16, ConvNeXt-T and Swin-T.
NETS: dict[str, tuple[type, type[PreTrainedModel]]] = {
    "ResNet-50": (ResNetConfig, ResNetForImageClassification),
    "ViT-B/16": (ViTConfig, ViTForImageClassification),
    "ConvNeXt-T": (ConvNextConfig, ConvNextForImageClassification),
    "Swin-T": (SwinConfig, SwinForImageClassification),
}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
STAGES = ("explain", "segment", "critique", "align", "report")
N_IMAGES, N_ALIGN, BATCH = 32, 8, 8


def measure(name: str) -> dict[str, tuple[float, int]]:
    """Return seconds and bytes at the peak of each stage, and the completeness error under its own name."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    config, model = NETS[name]
    net = model(
        config(num_labels=2, image_size=224) if "image_size" in vars(config()) else config(num_labels=2)
    )
    data = bandaged_lesions("train", N_IMAGES, 224, seed=0)
    test = bandaged_lesions("test", BATCH, 224, seed=0)
    found: dict[str, tuple[float, int]] = {}

    @contextmanager
    def watched(stage: str) -> Iterator[None]:
        start, peak = time.perf_counter(), watch_peak()
        yield
        found[stage] = time.perf_counter() - start, peak()

    with patch.object(RunDirectory, "timed", lambda _, stage: watched(stage)):
        fitted = LVLMVAClassifier(
            net,
            critic=OracleCritic(data.masks),
            preprocess=IMAGENET,
            epochs=0,
            n_align=N_ALIGN,
            align_epochs=1,
            batch_size=BATCH,
            random_state=0,
        ).fit(data.images, data.labels)
    with TemporaryDirectory() as folder, watched("report"):
        fitted.report(Path(folder) / "report.html", test.images, test.labels)
    error = max(part.explanation.relative_completeness_error() for part in fitted.aligned_.rounds)
    return found | {"completeness": (error, 0)}


def row(name: str, found: dict[str, tuple[float, int]]) -> str:
    """Return the line of a table."""
    stages = (f"{found[stage][0]:.1f} s, {found[stage][1] / 2**20:,.0f} MiB" for stage in STAGES)
    return f"| {name} | {' | '.join(stages)} | {found['completeness'][0]:.0e} |"


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"Of {', '.join(NETS)}; all where none is named."
    )
    _tell(f"| net | {' | '.join(STAGES)} | completeness error |")
    _tell("|---|" + "---:|" * (len(STAGES) + 1))
    for name in parser.parse_args().names or NETS:
        _tell(row(name, in_fresh_process(measure, name)))


if __name__ == "__main__":
    main()

"""Measure the constants of `benchmarks.scaling_model` on one core of this machine.

Seconds are CPU seconds of this process, so that what else the machine does hardly counts: medians of `ROUNDS` calls on
one thread. What an image costs is the slope between a few images and more; what a call costs besides is shared by a
shard. Floating-point operations are those that torch counts in matrix products and convolutions, in the form in which a
GPU runs the step (marked rows forwarded apart from the others).
"""

from __future__ import annotations

import datetime
import hashlib
import io
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.inputs import attribution_maps, smooth_images
from benchmarks.memory import peak_memory
from benchmarks.scaling_model import BATCH, SHARD
from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.alignment.mixing import plan_batches
from lvlm_va.attribution import DeepLiftShap, Explainer, ReferenceSet
from lvlm_va.backends import ScriptedBackend, estimate
from lvlm_va.backends.png import png_base64
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.critique import LVLMCritic, ParserJudge, build_requests
from lvlm_va.data.inputs import check_image_ids
from lvlm_va.data.training_data import TrainingData
from lvlm_va.datasets.image_file import read_image
from lvlm_va.modules.build import build_module
from lvlm_va.modules.logits import predict_logits
from lvlm_va.propagation import SegmentVerdicts, VerdictLearner, segment_features
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.cost import plan_round
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Trained
from lvlm_va.runs.directory import RunDirectory
from lvlm_va.runs.environment import environment
from lvlm_va.sampling import resolve_sampler
from lvlm_va.segmentation import PPEPSWGM, pixel_effect

NETS, SIDE, CLASSES, REFERENCES = ("cnn", "resnet18"), 224, 10, 20
ROUNDS = 3
FEW, MORE = 4, 8
CRITIQUED = 300
MANY = 10**6
# A photograph as it comes from a camera or a data set, before it is resized.
PHOTOGRAPH = (375, 500)
_DESCRIPTION = (
    "The shape and the texture of the object count. Labels, rulers, borders and the background do not."
)
_WORDS = "The segment covers the middle of the object and a part of what lies behind it, as step three says. "


def median_seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the median CPU seconds of a call, after one that warms up."""
    call()
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return statistics.median(spent)


class CountFlops(TorchDispatchMode):
    """Adds up what torch's formulas say. (Its own counter also keeps an account by modules, which breaks here.)"""

    total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def flops(call: Callable[[], Any]) -> float:
    """Return the operations that torch counts in a call."""
    with CountFlops() as counter:
        call()
    return counter.total


def per_image(measure: Callable[[Callable[[], Any]], float], call: Callable[[int], Any]) -> float:
    """Return what an image adds, and its share of what a call on a shard takes besides."""
    few, more = measure(lambda: call(FEW)), measure(lambda: call(MORE))
    slope = (more - few) / (MORE - FEW)
    return slope + max(0.0, few - slope * FEW) / SHARD


def measure_net(name: str) -> dict[str, Any]:
    """Return the fields of a `Net`."""
    net = build_module(name, (3, SIDE, SIDE), CLASSES, seed=0, default_dtype=torch.float32).eval()
    images, labels = smooth_images(MORE, 3, SIDE), torch.arange(MORE) % CLASSES
    references = smooth_images(REFERENCES, 3, SIDE, seed=1)
    masks = torch.zeros(MORE, SIDE, SIDE)
    masks[:, :56, :56] = 1

    def forward(n: int) -> Any:
        return predict_logits(net, images[:n], batch_size=MORE)

    def explain(n: int) -> Any:
        return DeepLiftShap().attribute(net, images[:n], labels[:n], references)

    def epoch(n: int, aligned: bool, precision: str) -> Any:
        options = TrainingOptions(epochs=1, batch_size=(1 + aligned) * n, precision=precision)
        rows = AlignmentSet(images[:n], labels[:n], masks[:n]) if aligned else None
        return train(net, images[:n], labels[:n], options, alignment_set=rows, seed=0)

    seconds = {
        "forward": per_image(median_seconds, forward),
        "train": per_image(median_seconds, lambda n: epoch(n, False, "float32")),
        "align": per_image(median_seconds, lambda n: epoch(n, True, "float32")),
        "explain": per_image(median_seconds, explain),
    }
    counted = {
        "forward": per_image(flops, forward),
        "train": per_image(flops, lambda n: epoch(n, False, "bf16")),
        "align": per_image(flops, lambda n: epoch(n, True, "bf16")),
        "explain": per_image(flops, explain),
    }
    return {
        "side": SIDE,
        "channels": 3,
        "parameters": sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad),
        "norms": sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()),
        "seconds": seconds,
        "flops": counted,
    }


def measure_reading() -> dict[str, float]:
    """Return the seconds to decode and resize a photograph, and to look at one that was read."""
    height, width = PHOTOGRAPH
    pixels = (255 * smooth_images(1, 3, width)[0, :, :height].permute(1, 2, 0)).byte().numpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="JPEG", quality=90)
        path.write_bytes(stream.getvalue())
        decode = median_seconds(lambda: [read_image(path, (SIDE, SIDE), "RGB") for _ in range(SHARD)]) / SHARD
    read = (255 * smooth_images(SHARD, 3, SIDE)).byte()

    def survey() -> None:
        hashlib.sha256(read.numpy().data)
        read.min(), read.max()

    return {"decode": decode, "survey": median_seconds(survey) / SHARD}


def measure_looking() -> dict[str, float]:
    """Return the seconds of what stays on the CPU when images are looked at and judged."""
    maps, images = attribution_maps(SHARD, SIDE), smooth_images(SHARD, 3, SIDE)
    labels, activations = torch.arange(SHARD) % CLASSES, torch.rand(SHARD, 512, 7, 7)
    segmenter = PPEPSWGM()
    found = segmenter.segment(maps, images, 0)

    def features() -> Tensor:
        return segment_features(images, labels, CLASSES, found, activations)

    n_features = features().shape[2]
    rng = np.random.default_rng(0)
    n = CRITIQUED * found.shares.shape[1]
    known = SegmentVerdicts(
        rng.normal(size=(n, n_features)).astype(np.float32),
        512,
        np.arange(n) // found.shares.shape[1],
        rng.random(n) < 0.3,
    )
    learner = VerdictLearner(None, 0).fit(known)
    rows = known.features[: int(found.n_segments.sum())]
    return {
        "segment": median_seconds(lambda: segmenter.segment(maps, images, 0)) / SHARD,
        "features": median_seconds(features) / SHARD,
        "judge": median_seconds(lambda: learner.p_spurious(rows)) / SHARD,
        "learn": median_seconds(lambda: VerdictLearner(None, 0).fit(known), 1) / n,
    }


def measure_critique() -> tuple[dict[str, float], dict[str, float], float]:
    """Return what a critiqued image takes of a model, and the seconds and bytes that it takes here."""
    n = 16
    maps, images = attribution_maps(n, SIDE), smooth_images(n, 3, SIDE)
    found = PPEPSWGM().segment(maps, images, 0)
    requests = build_requests(
        images.numpy(),
        found.labels.numpy(),
        pixel_effect(maps, found.effect).numpy(),
        indices=range(n),
        image_ids=[f"image-{i}" for i in range(n)],
        labels=["object"] * n,
        descriptions=[_DESCRIPTION] * n,
        effect_kind=found.effect,
    )
    verdicts = "".join(f"Segment {k}: relevant\n" for k in range(1, 6))
    backend = ScriptedBackend(lambda request: 25 * _WORDS + verdicts)
    critic = LVLMCritic(backend)
    chats = critic.chat_requests(requests)
    whole = estimate(chats)

    def encode() -> list[str]:
        return [png_base64(image) for chat in chats[: len(requests)] for image in chat.images]

    tracemalloc.start()
    said = critic.critique(requests)
    kept = ParserJudge().judge(said, found.n_segments.tolist())
    backend.requests.clear()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == n
    counts = {
        "segments": float(found.n_segments.sum()) / n,
        "requests": whole.requests / n,
        "pictures": whole.images / n,
        "input_tokens": whole.input_tokens / n,
        "output_tokens": whole.output_tokens / n,
    }
    seconds = {
        "draw": median_seconds(lambda: critic.chat_requests(requests)) / n,
        "encode": median_seconds(encode) / len(requests) * counts["requests"],
    }
    return counts, seconds, size / n


def choose(n: int) -> Callable[[], Any]:
    """Return what chooses the images to critique, by a net whose own cost is next to nothing."""
    data = TrainingData(
        torch.rand(n, 1, 1, 1),
        torch.arange(n) % CLASSES,
        tuple(map(str, range(CLASSES))),
        tuple(map(str, range(n))),
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, CLASSES))
    references = ReferenceSet.choose("zeros", data.images, data.labels, 1, seed=0)
    options = AlignmentOptions(
        sampler=resolve_sampler("low_entropy"),
        n_align=1,
        explainer=Explainer(DeepLiftShap(), references),
        segmenter=PPEPSWGM(1),
        training=TrainingOptions(batch_size=BATCH),
    )
    job = AlignmentJob(data, options, RunDirectory(None, {}), 0)
    return lambda: plan_round(job, Trained(net, ""))


def plan(n: int) -> Callable[[], Any]:
    """Return what makes the batches of an epoch."""
    whole = plan_batches(n, torch.empty(0, dtype=torch.bool), BATCH, 0.5)
    cpu = torch.device("cpu")
    return lambda: whole.epoch(0, cpu, cpu)


def names(n: int) -> Callable[[], Any]:
    """Return what checks names of images and makes a key of them."""

    def check() -> Any:
        ids = check_image_ids([f"images/{i:012d}.jpg" for i in range(n)], n)
        return ids, fingerprint(ids)

    return check


def measure_rows() -> tuple[dict[str, float], dict[str, float]]:
    """Return seconds and bytes of the lists that hold an entry for each training image."""
    seconds = {
        name: median_seconds(build(MANY), 1) / MANY for name, build in (("choose", choose), ("plan", plan))
    }
    sizes = {}
    for build in (choose, plan, names):
        few, many = (peak_memory(build, n) for n in (MANY // 4, MANY))
        sizes[build.__name__] = (many - few) / (MANY - MANY // 4)
    return seconds, sizes


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def measure() -> dict[str, Any]:
    """Return all constants, as `benchmarks.scaling_model.Measured` reads them."""
    torch.set_num_threads(1)
    facts = environment()
    counts, pictures, words = measure_critique()
    seconds, sizes = measure_rows()
    return {
        "about": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": f"one core of {os.cpu_count()} ({_processor()}), no GPU",
            **{
                name: facts[name]
                for name in ("python", "torch", "numpy", "scikit-learn", "transformers", "kernels")
            },
        },
        "nets": {name: measure_net(name) for name in NETS},
        "host": {**measure_reading(), **measure_looking(), **pictures, **seconds},
        "bytes": {**sizes, "words": words},
        "critique": counts,
    }

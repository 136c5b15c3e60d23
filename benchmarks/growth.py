"""How time and memory grow: image side, references, components and images, each varied alone.

Run as ``python -m benchmarks.growth``. Each point is measured in a fresh process: the median seconds of five calls, and
the resident memory that a call adds at its peak. Prints the slopes on the log-log plot (1 is linear) and draws
``benchmarks/growth.png``. The slope of a curve is that of its three largest points: small ones measure what a call
costs whatever its size.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import nets
from benchmarks.inputs import attribution_maps, smooth_images
from benchmarks.memory import in_fresh_process, measure_peak
from lvlm_va.attribution import DeepLiftShap
from lvlm_va.segmentation import PPEPSWGM

PICTURE = Path(__file__).with_name("growth.png")
# Above this slope growth counts as worse than linear: a tenth for the noise of three points.
LINEAR = 1.1
UPDATES = 20


def attribution(side: int = 56, n_references: int = 10, n: int = 4) -> Callable[[], Any]:
    """DeepLIFT SHAP on a small convolutional net."""
    net, images = nets.convnet(), smooth_images(n, 1, side)
    references, target = smooth_images(n_references, 1, side, seed=1), torch.zeros(n, dtype=torch.int64)
    return lambda: DeepLiftShap().attribute(net, images, target, references)


def segmentation(side: int = 56, n_segments: int = 5, n: int = 32) -> Callable[[], Any]:
    """PPEPS-WGM, one start and a fixed number of updates."""
    maps = attribution_maps(n, side)
    segmenter = PPEPSWGM(n_segments, n_restarts=1, max_iter=UPDATES, tol=0.0, min_share=0.0)
    return lambda: segmenter.segment(maps, maps, seed=0)


@dataclass(frozen=True)
class Sweep:
    """One stage along one variable; `size` turns a value into what is plotted."""

    stage: Callable[..., Callable[[], Any]]
    argument: str
    values: tuple[int, ...]
    label: str
    size: Callable[[int], int] = int


def pixels(side: int) -> int:
    """Return the number of pixels of a square image."""
    return side * side


SIDES, NUMBERS = (28, 56, 112, 224, 448), (8, 32, 128, 512)
SWEEPS = (
    Sweep(attribution, "side", SIDES, "pixels", pixels),
    Sweep(segmentation, "side", SIDES, "pixels", pixels),
    Sweep(attribution, "n_references", (5, 10, 20, 50, 100), "references"),
    Sweep(segmentation, "n_segments", (2, 4, 8, 16), "components J"),
    Sweep(attribution, "n", NUMBERS, "images N"),
    Sweep(segmentation, "n", NUMBERS, "images N"),
)


@dataclass(frozen=True)
class Curve:
    """A measured sweep: sizes, seconds and MiB."""

    sweep: Sweep
    sizes: list[int]
    seconds: list[float]
    mebibytes: list[float]

    def slope(self, values: list[float]) -> float:
        """Return the slope of the log-log line through the three largest sizes."""
        log_sizes = [math.log(size) for size in self.sizes[-3:]]
        return statistics.linear_regression(log_sizes, [math.log(value) for value in values[-3:]]).slope


def measure(stage: Callable[..., Callable[[], Any]], arguments: dict[str, int]) -> tuple[float, float]:
    """Return median seconds and peak MiB of a stage; runs in a process of its own."""
    stage(side=28, n=2)()
    call = stage(**arguments)
    mebibytes = measure_peak(call) / 2**20
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    # What is below a page cannot be seen, and has no logarithm.
    return statistics.median(seconds), max(mebibytes, 2**-8)


def run(sweep: Sweep) -> Curve:
    """Measure a sweep."""
    points = [in_fresh_process(measure, sweep.stage, {sweep.argument: value}) for value in sweep.values]
    seconds, mebibytes = zip(*points, strict=True)
    return Curve(sweep, [sweep.size(value) for value in sweep.values], list(seconds), list(mebibytes))


def report(curves: list[Curve]) -> str:
    """Return the slopes as text, one curve a line."""
    lines = []
    for curve in curves:
        points = zip(curve.sizes, curve.seconds, curve.mebibytes, strict=True)
        shown = ", ".join(f"{size}: {1e3 * time:.3g} ms {memory:.3g} MiB" for size, time, memory in points)
        lines.append(f"{curve.sweep.stage.__name__} by {curve.sweep.label}: {shown}")
    lines.append("\nslopes over the three largest sizes (1 is linear)")
    for curve in curves:
        name = f"{curve.sweep.stage.__name__} by {curve.sweep.label}"
        time_slope, memory_slope = curve.slope(curve.seconds), curve.slope(curve.mebibytes)
        verdict = "ok" if max(time_slope, memory_slope) <= LINEAR else "WORSE THAN LINEAR"
        sizes = f"{curve.sizes[0]} to {curve.sizes[-1]}"
        lines.append(
            f"{name:<28} {sizes:<16} time {time_slope:5.2f}   memory {memory_slope:5.2f}   {verdict}"
        )
    return "\n".join(lines)


def draw(curves: list[Curve], path: Path) -> None:
    """Draw time above and memory below, a column for each variable, and dotted lines of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    labels = list(dict.fromkeys(curve.sweep.label for curve in curves))
    colours = {"attribution": "#2e6f9e", "segmentation": "#b5651d"}
    figure, axes = plt.subplots(2, len(labels), figsize=(3.2 * len(labels), 5.6), layout="constrained")
    for curve in curves:
        column, stage = labels.index(curve.sweep.label), curve.sweep.stage.__name__
        for row, (values, unit) in enumerate(((curve.seconds, "seconds"), (curve.mebibytes, "MiB"))):
            axis = axes[row, column]
            axis.loglog(curve.sizes, values, "o-", label=stage, color=colours[stage])
            guide = [values[-1] * size / curve.sizes[-1] for size in curve.sizes]
            axis.loglog(curve.sizes, guide, ":", color=colours[stage], linewidth=1)
            axis.set_xlabel(curve.sweep.label)
            axis.set_ylabel(unit)
            axis.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes], fontsize=7)
            axis.legend(frameon=False, fontsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat:
        low, high = axis.get_ylim()
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        for part in (axis.xaxis, axis.yaxis):
            part.set_minor_formatter(ticker.NullFormatter())
    figure.suptitle("Time and peak memory of the stages; dotted: linear growth to the largest point")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURE, help="the PNG to write")
    out = parser.parse_args().out
    curves = [run(sweep) for sweep in SWEEPS]
    sys.stdout.write(report(curves) + "\n")
    draw(curves, out)


if __name__ == "__main__":
    main()

"""What a run takes, by images and GPUs: time, memory, files, tokens and money. Arithmetic on constants, nothing else.

The constants are of two kinds. `Measured` ones were timed by ``python -m benchmarks.scaling measure`` and stand in
``scaling_constants.json``; `Stated` ones are assumptions about machines that were not at hand, to be replaced by one's
own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvlm_va.alignment import TrainingOptions
from lvlm_va.rounds.choice import BATCHES_IN_SHARD as LOGIT_BATCHES
from lvlm_va.runs.shards import SHARD

CONSTANTS = Path(__file__).with_name("scaling_constants.json")
# Rows of a batch, and share of alignment rows in it, unless told otherwise.
BATCH, ALIGN_FRACTION = TrainingOptions.batch_size, TrainingOptions.align_fraction
# Sums over all processes in a training step, for each batch normalisation: count, mean, variance, and two backward.
SUMS_PER_NORM = 5


@dataclass(frozen=True)
class Net:
    """What one image costs with one net.

    Attributes
    ----------
    name : str
        Of the net.
    side, channels, parameters, norms : int
        Pixels along a side, channels of an image, trained numbers, and layers of batch normalisation.
    seconds : mapping of str to float
        Seconds of one CPU core per image in each stage (`train` and `align` per image and epoch; `align` with the
        alignment row that comes with it).
    flops : mapping of str to float
        Floating-point operations of the same in matrix products and convolutions; a multiply-add is two.
    """

    name: str
    side: int
    channels: int
    parameters: int
    norms: int
    seconds: Mapping[str, float]
    flops: Mapping[str, float]

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.side**2


@dataclass(frozen=True)
class Measured:
    """What was measured on one machine.

    Attributes
    ----------
    about : mapping of str to str
        Date, machine in words, versions.
    nets : mapping of str to Net
        The nets.
    host : mapping of str to float
        Seconds of one CPU core: ``decode`` and ``survey`` (hash, least and largest value), ``segment``, ``features``
        and ``judge`` (by the forest) per image, ``learn`` per judged segment, ``choose`` and ``plan`` per training
        image, ``draw`` and ``encode`` (of its pictures, as PNG) per critiqued one.
    bytes : mapping of str to float
        Bytes of this process per training image (``names``, ``choose``, ``plan``) and per critiqued one (``words``).
    critique : mapping of str to float
        Per critiqued image: segments, requests, pictures, input_tokens, and output_tokens at the most.
    """

    about: Mapping[str, str]
    nets: Mapping[str, Net]
    host: Mapping[str, float]
    bytes: Mapping[str, float]
    critique: Mapping[str, float]

    @classmethod
    def read(cls, path: Path = CONSTANTS) -> Measured:
        """Return what ``measure`` wrote."""
        found: dict[str, Any] = json.loads(path.read_text())
        nets = {name: Net(name=name, **net) for name, net in found.pop("nets").items()}
        return cls(nets=nets, **found)


@dataclass(frozen=True)
class Stated:
    """What is assumed of machines that were not measured.

    Attributes
    ----------
    peak : float
        Floating-point operations per second of a GPU by its data sheet, in float32 without tensor cores.
    utilisation : float
        Share of that which nets of this kind reach.
    cores : int
        CPU cores beside each GPU, whose DataLoader workers read and decode images.
    threads : int
        CPU threads of each process, which cut attributions into segments and describe these. torchrun gives one unless
        OMP_NUM_THREADS says otherwise.
    bandwidth : float
        Bytes per second that a GPU sends to the next in a ring.
    latency : float
        Seconds of one message.
    rows_per_gpu : int
        Rows of a batch on each GPU; the whole batch is at least the library's default.
    concurrency : int
        Requests under way at a time; the library's default.
    seconds_per_answer : float
        How long one takes.
    requests_per_minute : float
        The most that the model's server takes.
    tokens_per_second : float
        The most that it writes, over all requests.
    input_price, output_price : float
        Money per million tokens. An example to show the sum, no provider's price.
    batch_factor : float
        Share of the price of requests sent in batches.
    """

    peak: float = 67e12
    utilisation: float = 0.3
    cores: int = 16
    threads: int = 1
    bandwidth: float = 25e9
    latency: float = 10e-6
    rows_per_gpu: int = 32
    concurrency: int = 8
    seconds_per_answer: float = 8.0
    requests_per_minute: float = 1000.0
    tokens_per_second: float = 2500.0
    input_price: float = 1.0
    output_price: float = 5.0
    batch_factor: float = 0.5


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes
    ----------
    images : int
        Training images.
    critiqued : int
        Images critiqued in each round.
    propagated : int
        Images to which verdicts are extended, the critiqued ones among them; 0 for none.
    epochs, align_epochs, rounds : int
        As in the estimator.
    """

    images: int
    critiqued: int = 300
    propagated: int = 0
    epochs: int = 10
    align_epochs: int = 10
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.critiqued * self.rounds <= self.images or not self.propagated <= self.images:
            raise ValueError(f"A plan must critique some of its images. Got {self}.")


@dataclass(frozen=True)
class StageTime:
    """Seconds of a stage, and what they go into.

    Attributes
    ----------
    compute, reading : float
        On the busiest GPU (or core), and in the cores that read images for it. They go on at the same time.
    exchange : float
        Sums over all processes: after the backward pass, so that it comes on top.
    host : float
        Work that every process does by itself, or one does for all.
    """

    compute: float = 0.0
    reading: float = 0.0
    exchange: float = 0.0
    host: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return max(self.compute, self.reading) + self.exchange + self.host

    @property
    def limit(self) -> str:
        """What takes most of it."""
        parts = {
            "compute": self.compute,
            "reading": self.reading,
            "exchange": self.exchange,
            "host": self.host,
        }
        return max(parts, key=lambda name: parts[name])


def all_reduce(n_bytes: float, processes: int, stated: Stated) -> float:
    """Return the seconds to add up so many bytes over all processes.

    Bytes go round a ring, ``2 (p - 1) / p`` times; a message passes up and down a tree, ``2 log2 p`` times.
    """
    if processes == 1:
        return 0.0
    ring = 2 * (processes - 1) / processes * n_bytes / stated.bandwidth
    return ring + 2 * math.ceil(math.log2(processes)) * stated.latency


def exchanges(net: Net, processes: int, stated: Stated) -> tuple[float, float]:
    """Return the seconds of a training step that go into the sums of gradients, and of batch statistics."""
    # Statistics are a number for each channel: nothing but latency.
    return (
        all_reduce(4 * net.parameters, processes, stated),
        SUMS_PER_NORM * net.norms * all_reduce(0, processes, stated),
    )


def busiest(rows: int, shard: int, processes: int) -> int:
    """Return the rows of the process with most of them, where whole shards are dealt out."""
    return min(rows, math.ceil(math.ceil(rows / shard) / processes) * shard)


def batch_size(gpus: int, stated: Stated) -> int:
    """Return the rows of a whole batch."""
    return max(BATCH, stated.rows_per_gpu * gpus)


def stage_times(
    plan: Plan, net: Net, measured: Measured, stated: Stated, gpus: int = 0
) -> dict[str, StageTime]:
    """Return the time of every stage, in the order in which they come.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    net : Net
        With which net.
    measured, stated : Measured, Stated
        The constants.
    gpus : int, default=0
        Number of GPUs, a process on each; 0 for one core of the measured machine, which does all.
    """
    processes, host = max(1, gpus), measured.host
    readers = stated.cores if gpus else 1
    n, rounds = plan.images, plan.rounds

    def seconds(stage: str, rows: float) -> float:
        return rows * (net.flops[stage] / (stated.peak * stated.utilisation) if gpus else net.seconds[stage])

    def surveyed() -> StageTime:
        """Read all images once, for the key of the data and to see that they are in [0, 1]."""
        mine = busiest(n, SHARD, processes)
        return StageTime(mine * host["survey"], mine * host["decode"] / readers)

    def looking(rows: int, *, judged: bool) -> StageTime:
        """Explain and segment; the segmenter, the features and the forest stay on the CPU."""
        mine = busiest(rows, SHARD, processes)
        shared = host["segment"] + (host["features"] if judged else 0.0)
        on_host = shared / (stated.threads if gpus else 1) + (host["judge"] if judged else 0.0)
        compute = seconds("explain", mine) + (seconds("forward", mine) if judged else 0.0)
        return StageTime(compute, mine * host["decode"] / readers, host=mine * on_host)

    whole = batch_size(gpus, stated)
    gradients, norms = exchanges(net, processes, stated)
    train_steps = plan.epochs * math.ceil(n / whole)
    align_steps = plan.align_epochs * math.ceil(n / ((1 - ALIGN_FRACTION) * whole))
    # The alignment rows of critiqued images are in memory, those of propagated ones are read again.
    read_in_alignment = n * (2 if plan.propagated else 1)
    sampled = busiest(n, LOGIT_BATCHES * BATCH, processes)
    looked = looking(plan.critiqued, judged=False)
    times = {
        "survey": surveyed(),
        "train": StageTime(
            seconds("train", plan.epochs * n / processes),
            plan.epochs * n / processes * host["decode"] / readers,
            train_steps * (gradients + norms),
            plan.epochs * n * host["plan"],
        ),
        "sample": StageTime(
            seconds("forward", sampled), sampled * host["decode"] / readers, host=n * host["choose"]
        ),
        "explain": looked,
        "critique": StageTime(host=critique_seconds(plan.critiqued, measured, stated)),
    }
    if plan.propagated:
        # The critiqued ones are explained already.
        part = looking(max(0, plan.propagated - plan.critiqued), judged=True)
        learn = plan.critiqued * measured.critique["segments"] * host["learn"]
        times["propagate"] = StageTime(part.compute, part.reading, part.exchange, part.host + learn)
    times["align"] = StageTime(
        seconds("align", plan.align_epochs * n / processes),
        plan.align_epochs * read_in_alignment / processes * host["decode"] / readers,
        align_steps * gradients,
        2 * plan.align_epochs * n * host["plan"],
    )
    each_round = [stage for stage in times if stage not in ("survey", "train")]
    times |= {stage: _times(times[stage], rounds) for stage in each_round}
    # What the run directory keeps for the report: the critiqued images explained once more.
    times["outcome"] = StageTime(seconds("explain", busiest(plan.critiqued * rounds, SHARD, processes)))
    return times


def _times(time: StageTime, factor: int) -> StageTime:
    return StageTime(factor * time.compute, factor * time.reading, factor * time.exchange, factor * time.host)


def critique_seconds(critiqued: int, measured: Measured, stated: Stated) -> float:
    """Return the seconds of a critique: one process draws the pictures, then waits for the answers, by turns."""
    each, host = measured.critique, measured.host
    waits = (
        each["requests"] * 60 / stated.requests_per_minute,
        # The threads that wait for answers encode the pictures, too.
        (each["requests"] * stated.seconds_per_answer + host["encode"]) / stated.concurrency,
        each["output_tokens"] / stated.tokens_per_second,
    )
    return critiqued * (host["draw"] + max(waits))


def tokens(critiqued: int, measured: Measured) -> tuple[float, float]:
    """Return the tokens sent, and the most that come back, for so many critiqued images."""
    return critiqued * measured.critique["input_tokens"], critiqued * measured.critique["output_tokens"]


def money(critiqued: int, measured: Measured, stated: Stated, *, batch: bool = False) -> float:
    """Return what so many critiques cost at the stated prices; an upper bound, as the output is."""
    sent, received = tokens(critiqued, measured)
    full = (stated.input_price * sent + stated.output_price * received) / 1e6
    return full * (stated.batch_factor if batch else 1.0)


def host_memory(plan: Plan, net: Net, measured: Measured, classes: int = 10) -> dict[str, float]:
    """Return the bytes that each process holds, by what they are for; not all at the same time.

    Images are not among them where they are read from a Dataset as they are used (docs/how_to/large_data.md).

    Parameters
    ----------
    plan, net, measured
        As in `stage_times`.
    classes : int, default=10
        Classes of the net.
    """
    critiqued = plan.critiqued * plan.rounds
    floats = 4 * net.channels * net.pixels
    # Attributions and labels of segments, of several rounds once more, joined; images; masks of four bytes and of one.
    look = min(plan.rounds, 2) * (floats + 8 * net.pixels) + floats + 5 * net.pixels
    return {
        # Besides the names the label as a number and as it was read, and the image's own number.
        "names and labels": plan.images * (measured.bytes["names"] + 24),
        "batches of an epoch": plan.images * measured.bytes["plan"] * (2 if plan.propagated else 1),
        "logits to choose by": plan.images * measured.bytes["choose"] * classes / 10,
        "critiqued images": critiqued * (look + measured.bytes["words"]),
        # A byte for each pixel, and a probability for each of five segments, twice.
        "propagated masks": plan.propagated * (net.pixels + 80),
    }


def peak_memory(plan: Plan, net: Net, measured: Measured) -> float:
    """Return about the most that a process holds at a time: what stays, and the largest of what passes."""
    parts = host_memory(plan, net, measured)
    passing = ("batches of an epoch", "logits to choose by")
    stays = sum(size for name, size in parts.items() if name not in passing)
    return stays + max(parts[name] for name in passing)


def files(plan: Plan) -> dict[str, int]:
    """Return how many files a stage leaves in one folder of the run directory until it is done."""
    return {
        "sample": math.ceil(plan.images / (LOGIT_BATCHES * BATCH)),
        "explain": math.ceil(plan.critiqued / SHARD),
        "propagate": plan.rounds * math.ceil(plan.propagated / SHARD),
    }

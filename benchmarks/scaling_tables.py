"""The tables of docs/background/scaling.md, in Markdown."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from benchmarks.scaling_model import (
    BATCH,
    Measured,
    Net,
    Plan,
    Stated,
    batch_size,
    critique_seconds,
    exchanges,
    files,
    host_memory,
    money,
    peak_memory,
    stage_times,
    tokens,
)

IMAGES = (10**4, 10**5, 10**6, 10**7, 10**8)
GPUS = (1, 8, 64, 1000)
CRITIQUED, EXTENDED = 300, 12_000
# For how many GPUs the page sums up.
SUMMARY = {10**5: (1, 8), 10**6: (1, 8, 64), 10**8: (8, 64, 1000)}
STAGES = ("survey", "train", "sample", "explain", "critique", "propagate", "align", "outcome")
WORDS = {
    "decode": "read a 500 x 375 JPEG, resize it to 224 x 224",
    "survey": "hash an image as uint8, find its least and largest value",
    "segment": "PPEPS-WGM, three starts",
    "features": "features of an image's segments",
    "judge": "the forest on an image's segments",
    "learn": "fit forests, choose one, judge out of fold: per judged segment",
    "draw": "draw the pictures of a critiqued image",
    "encode": "encode them as PNG",
    "choose": "keep and rank the logits of a training image",
    "plan": "put a training image into a batch, per epoch",
}
_MARK = "<!-- {} -->"


def few(images: int) -> Plan:
    """Return the plan of the README: a few critiques, extended to some thousand images."""
    return Plan(images, CRITIQUED, min(images, EXTENDED))


def all_extended(images: int) -> Plan:
    """Return the plan that extends the verdicts to all images."""
    return Plan(images, CRITIQUED, images)


def all_critiqued(images: int) -> Plan:
    """Return the plan that has every image critiqued."""
    return Plan(images, images)


PLANS = {"extended to 12,000": few, "extended to all": all_extended, "all critiqued": all_critiqued}


def number(value: float) -> str:
    """Return two significant digits, in full."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    if abs(rounded) >= 1e9:
        return f"{rounded:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{rounded:,.{max(0, digits)}f}"


def size(n_bytes: float) -> str:
    """Return a size in MB, GB or TB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= factor:
            return f"{number(n_bytes / factor)} {unit}"
    return f"{number(n_bytes / 1e6)} MB" if n_bytes else "0"


def hours(seconds: float) -> str:
    """Return seconds in hours, from a hundredth of one."""
    return number(seconds / 3600) if seconds >= 36 else "< 0.01"


def total_hours(plan: Plan, net: Net, measured: Measured, stated: Stated, gpus: int) -> str:
    """Return the hours of all stages."""
    return hours(sum(time.seconds for time in stage_times(plan, net, measured, stated, gpus).values()))


def longest(plan: Plan, net: Net, measured: Measured, stated: Stated, gpus: int) -> str:
    """Return the stage that takes longest, and what in it does."""
    times = stage_times(plan, net, measured, stated, gpus)
    stage = max(times, key=lambda name: times[name].seconds)
    return stage if stage == "critique" else f"{stage}: {times[stage].limit}"


def _gpus(count: int) -> str:
    return f"{count:,} GPU{'s' * (count > 1)}"


def _summary(net: Net, measured: Measured, stated: Stated) -> str:
    lines = []
    for n, gpus in SUMMARY.items():
        spent = [f"{total_hours(few(n), net, measured, stated, count)} h on {_gpus(count)}" for count in gpus]
        held = size(peak_memory(few(n), net, measured))
        lines.append(
            f"- **{n:,} images**: {', '.join(spent)}; {held} in each process besides the net and the program."
        )
    sent, received = (number(count) for count in tokens(CRITIQUED, measured))
    cost = number(money(CRITIQUED, measured, stated))
    lines.append(
        f"- **Tokens and money** are those of {CRITIQUED} critiques, however many images: {sent} tokens sent, at most "
        f"{received} received; {cost} where a million costs {stated.input_price:g} sent and {stated.output_price:g} "
        f"received (an example, nobody's price), {number(money(CRITIQUED, measured, stated, batch=True))} in batches."
    )
    return "\n".join(lines)


def _answer(net: Net, measured: Measured, stated: Stated) -> str:
    rows = []
    for n in IMAGES:
        spent = [total_hours(few(n), net, measured, stated, gpus) for gpus in GPUS]
        memory = size(peak_memory(few(n), net, measured))
        cost = number(money(CRITIQUED, measured, stated))
        rows.append([f"{n:,}", *spent, longest(few(n), net, measured, stated, 8), memory, cost])
    heads = [
        "images",
        *map(_gpus, GPUS),
        "longest with 8",
        "memory",
        "money",
    ]
    return _table(heads, rows)


def _plans(net: Net, measured: Measured, stated: Stated) -> str:
    rows = [
        [
            f"{n:,}",
            name,
            *(total_hours(make(n), net, measured, stated, gpus) for gpus in GPUS),
            size(peak_memory(make(n), net, measured)),
            number(money(make(n).critiqued, measured, stated)),
        ]
        for n in IMAGES
        for name, make in PLANS.items()
    ]
    heads = ["images", "verdicts", *map(_gpus, GPUS), "memory", "money"]
    return _table(heads, rows)


def _stages(net: Net, measured: Measured, stated: Stated) -> str:
    rows = []
    for n in IMAGES:
        for gpus in GPUS:
            plan = all_extended(n)
            times = stage_times(plan, net, measured, stated, gpus)
            spent = [hours(times[stage].seconds) for stage in STAGES]
            whole = total_hours(plan, net, measured, stated, gpus)
            rows.append([f"{n:,}", f"{gpus:,}", *spent, whole, longest(plan, net, measured, stated, gpus)])
    return _table(["images", "GPUs", *STAGES, "all", "longest"], rows)


def _core(measured: Measured, stated: Stated) -> str:
    nets = measured.nets.values()
    rows = [
        [
            f"{n:,}",
            *(total_hours(make(n), net, measured, stated, 0) for net in nets for make in (few, all_extended)),
        ]
        for n in IMAGES[:3]
    ]
    heads = [f"{net.name}, {name}" for net in nets for name in ("extended to 12,000", "to all")]
    return _table(["images", *heads], rows)


def _steps(net: Net, stated: Stated) -> str:
    rows = []
    for gpus in GPUS[1:]:
        computed = batch_size(gpus, stated) / gpus * net.flops["train"] / (stated.peak * stated.utilisation)
        rows.append(
            [f"{gpus:,}", *(number(1e3 * part) for part in (computed, *exchanges(net, gpus, stated)))]
        )
    return _table(
        ["GPUs", "ms of computing in a step", "sums of gradients", "sums of batch statistics"], rows
    )


def _memory(net: Net, measured: Measured) -> str:
    rows = []
    for n in IMAGES:
        for name, make in PLANS.items():
            plan = make(n)
            parts = host_memory(plan, net, measured)
            most = max(files(plan).values())
            rows.append(
                [
                    f"{n:,}",
                    name,
                    *map(size, parts.values()),
                    size(peak_memory(plan, net, measured)),
                    f"{most:,}",
                ]
            )
    heads = [
        "images",
        "verdicts",
        *host_memory(few(IMAGES[0]), net, measured),
        "at most",
        "files in a folder",
    ]
    return _table(heads, rows)


def _critiques(measured: Measured, stated: Stated) -> str:
    rows = []
    for critiqued in (CRITIQUED, *IMAGES):
        sent, received = tokens(critiqued, measured)
        spent = hours(critique_seconds(critiqued, measured, stated))
        quick = hours(critique_seconds(critiqued, measured, dataclasses.replace(stated, concurrency=64)))
        costs = [number(money(critiqued, measured, stated, batch=batch)) for batch in (False, True)]
        requests = number(critiqued * measured.critique["requests"])
        rows.append([f"{critiqued:,}", requests, number(sent), number(received), spent, quick, *costs])
    heads = [
        "critiqued images",
        "requests",
        "tokens in",
        "tokens out, at most",
        "hours",
        "64 at a time",
        "money",
        "in batches",
    ]
    return _table(heads, rows)


def _nets(measured: Measured, stated: Stated) -> str:
    rows = []
    speed = stated.peak * stated.utilisation
    for net in measured.nets.values():
        for stage, seconds in net.seconds.items():
            work = net.flops[stage]
            each = [
                number(1e3 * seconds),
                number(work / 1e9),
                number(work / seconds / 1e9),
                number(1e3 * work / speed),
            ]
            rows.append([net.name, stage, *each])
    heads = ["net", "per image", "ms of a core", "GFLOP", "GFLOP/s of a core", "ms of a GPU, derived"]
    return _table(heads, rows)


def _host(measured: Measured) -> str:
    rows = [[f"`{name}`", WORDS[name], number(1e3 * seconds)] for name, seconds in measured.host.items()]
    return _table(["constant", "what", "ms of a core"], rows)


def _counts(measured: Measured) -> str:
    rows = [[f"`{name}`", number(value), "per critiqued image"] for name, value in measured.critique.items()]
    rows += [
        [f"`{name}` bytes", number(value), f"per {'critiqued' if name == 'words' else 'training'} image"]
        for name, value in measured.bytes.items()
    ]
    return _table(["constant", "value", ""], rows)


def _about(measured: Measured) -> str:
    return "Measured: " + ", ".join(f"{name} {fact}" for name, fact in measured.about.items()) + "."


def _stated(stated: Stated) -> str:
    rows = [[f"`{field.name}`", f"{getattr(stated, field.name):g}"] for field in dataclasses.fields(stated)]
    return _table(["assumption", "value"], [*rows, ["rows of a batch, at least", f"{BATCH}"]])


def tables(measured: Measured, stated: Stated) -> dict[str, str]:
    """Return all tables by name."""
    net = measured.nets["resnet18"]
    return {
        "summary": _summary(net, measured, stated),
        "answer": _answer(net, measured, stated),
        "plans": _plans(net, measured, stated),
        "one core": _core(measured, stated),
        "stages": _stages(net, measured, stated),
        "steps": _steps(net, stated),
        "memory": _memory(net, measured),
        "critiques": _critiques(measured, stated),
        "nets": _nets(measured, stated),
        "host": _host(measured),
        "counts": _counts(measured),
        "about": _about(measured),
        "stated": _stated(stated),
    }


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with each block between its marks.

    Raises
    ------
    ValueError
        If the page lacks the marks of a block.
    """
    for name, block in blocks.items():
        start, end = _MARK.format(name), _MARK.format(f"end of {name}")
        page, count = re.subn(
            f"{re.escape(start)}\n.*?{re.escape(end)}",
            lambda _, s=start, b=block, e=end: f"{s}\n{b}\n{e}",
            page,
            flags=re.S,
        )
        if count != 1:
            raise ValueError(
                f"The page must have the marks {start} and {end} once. Got them {count} times instead."
            )
    return page


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

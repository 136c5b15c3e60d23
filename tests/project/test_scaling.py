"""The model of time, memory, tokens and money: its sums, its directions, and the page that shows them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.scaling import PAGE
from benchmarks.scaling_model import (
    Measured,
    Net,
    Plan,
    StageTime,
    Stated,
    all_reduce,
    batch_size,
    busiest,
    files,
    host_memory,
    money,
    peak_memory,
    stage_times,
    tokens,
)
from benchmarks.scaling_tables import fill, number, tables

HOSTS = ("decode", "survey", "segment", "features", "judge", "learn", "draw", "encode", "choose", "plan")
# A second for everything, a hundred operations, and round numbers elsewhere.
NET = Net(
    "net", 10, 3, 1000, 4,
    seconds=dict.fromkeys(("forward", "train", "align", "explain"), 1.0),
    flops=dict.fromkeys(("forward", "train", "align", "explain"), 100.0),
)  # fmt: skip
MEASURED = Measured(
    about={},
    nets={"net": NET},
    host=dict.fromkeys(HOSTS, 1.0),
    bytes={"names": 76.0, "choose": 100.0, "plan": 10.0, "words": 1000.0},
    critique={"segments": 4, "requests": 2, "pictures": 6, "input_tokens": 2000, "output_tokens": 500},
)
STATED = Stated(peak=100.0, utilisation=0.5, cores=4, rows_per_gpu=32, seconds_per_answer=7.0, concurrency=8)


def seconds(plan: Plan, gpus: int = 0, stated: Stated = STATED) -> dict[str, float]:
    return {stage: time.seconds for stage, time in stage_times(plan, NET, MEASURED, stated, gpus).items()}


def test_one_core_by_hand() -> None:
    found = seconds(Plan(1024, critiqued=64, propagated=128, epochs=2, align_epochs=3))
    assert found == {
        "survey": 1024,
        "train": 2 * 1024 + 2 * 1024,  # the batches are made beforehand, a second for each image
        "sample": 1024 + 1024,
        "explain": 64 + 64,  # and segmented
        # Drawn; then an image's answers of 500 tokens at 2,500 a second, two at 1,000 a minute, or two in 7 seconds
        # and a second for their pictures, eight at a time.
        "critique": 64 * (1 + (2 * 7 + 1) / 8),
        # The others explained and embedded; segmented, described and judged. The verdicts learned.
        "propagate": 2 * 64 + 3 * 64 + 64 * 4,
        "align": 3 * 2 * 1024 + 3 * 2 * 1024,
        "outcome": 64,
    }  # reading takes as long as computing except in alignment, where two images are read for each


def test_gpus_by_hand() -> None:
    # 100 operations at half of 100 a second: 2 s; four cores read an image in 1/4 s. Batches of 256.
    times = stage_times(Plan(1024, critiqued=64, epochs=2), NET, MEASURED, STATED, gpus=4)
    train, explain = times["train"], times["explain"]
    assert (train.compute, train.reading, train.host) == (2 * 256 * 2, 2 * 256 / 4, 2 * 1024)
    gradients, sums = all_reduce(4000, 4, STATED), all_reduce(0, 4, STATED)
    assert train.exchange == pytest.approx(2 * 4 * (gradients + 5 * 4 * sums))
    assert times["align"].exchange == pytest.approx(10 * 8 * gradients)
    assert explain.compute == 64 * 2  # one shard, one GPU; the others wait
    threads = replace(STATED, threads=2)
    assert stage_times(Plan(1024, 64), NET, MEASURED, threads, 4)["explain"].host == explain.host / 2
    assert times["critique"] == stage_times(Plan(1024, 64), NET, MEASURED, STATED)["critique"]


def test_stages_take_the_longer_of_computing_and_reading_and_all_of_the_rest() -> None:
    assert StageTime(3.0, 2.0, 1.0, 0.5).seconds == 4.5
    assert StageTime(2.0, 3.0, 1.0, 0.5).seconds == 4.5
    assert StageTime(2.0, 3.0, 1.0, 0.5).limit == "reading"


def test_all_reduce() -> None:
    stated = Stated(bandwidth=1e9, latency=1e-5)
    assert all_reduce(1e9, 1, stated) == 0
    assert all_reduce(1e9, 2, stated) == pytest.approx(1 + 2e-5)
    assert all_reduce(0, 1000, stated) == pytest.approx(20e-5)


@pytest.mark.parametrize(
    ("rows", "processes", "most"), [(10, 4, 10), (128, 2, 64), (129, 2, 128), (1024, 1, 1024)]
)
def test_whole_shards_are_dealt_out(rows: int, processes: int, most: int) -> None:
    assert busiest(rows, 64, processes) == most


def test_batches_grow_with_the_gpus_from_the_default() -> None:
    assert [batch_size(gpus, STATED) for gpus in (0, 1, 8, 9, 1000)] == [256, 256, 256, 288, 32_000]


@pytest.mark.parametrize("gpus", [0, 1, 8, 64, 1000])
def test_more_images_take_no_less(gpus: int) -> None:
    plans = [Plan(n, propagated=n) for n in (10**4, 10**5, 10**6, 10**8)]
    for fewer, more in pairwise(plans):
        before, after = seconds(fewer, gpus), seconds(more, gpus)
        assert all(before[stage] <= after[stage] for stage in before)
        assert sum(before.values()) < sum(after.values())
        assert peak_memory(fewer, NET, MEASURED) < peak_memory(more, NET, MEASURED)


def test_more_gpus_compute_and_read_no_longer_but_exchange_more() -> None:
    plan = Plan(10**6, propagated=10**6)
    runs = [stage_times(plan, NET, MEASURED, Stated(), gpus) for gpus in (1, 8, 64, 1000)]
    for fewer, more in pairwise(runs):
        for stage in fewer:
            assert more[stage].compute <= fewer[stage].compute
            assert more[stage].reading <= fewer[stage].reading
    assert runs[0]["train"].exchange == 0 < runs[1]["train"].exchange
    assert runs[0]["critique"] == runs[-1]["critique"]


def test_rounds_repeat_all_but_training() -> None:
    once, twice = seconds(Plan(10**4, propagated=10**4)), seconds(Plan(10**4, propagated=10**4, rounds=2))
    assert {stage: twice[stage] / once[stage] for stage in once} == {
        stage: 1 if stage in ("survey", "train") else 2 for stage in once
    }


def test_money_follows_tokens() -> None:
    stated = Stated(input_price=2.0, output_price=8.0, batch_factor=0.5)
    assert tokens(1000, MEASURED) == (2e6, 5e5)
    assert money(1000, MEASURED, stated) == pytest.approx(2 * 2.0 + 0.5 * 8.0)
    assert money(1000, MEASURED, stated, batch=True) == pytest.approx(4.0)


def test_memory_by_hand() -> None:
    plan = Plan(1000, critiqued=10, propagated=500)
    parts = host_memory(plan, NET, MEASURED)
    assert parts == {
        "names and labels": 1000 * 100,
        "batches of an epoch": 1000 * 20,
        "logits to choose by": 1000 * 100,
        "critiqued images": 10 * ((1200 + 800) + 1200 + 500 + 1000),
        "propagated masks": 500 * 180,
    }
    assert peak_memory(plan, NET, MEASURED) == sum(parts.values()) - 1000 * 20
    twice = host_memory(replace(plan, rounds=2), NET, MEASURED)
    assert twice["critiqued images"] == 2 * (parts["critiqued images"] + 10 * 2000)


def test_files() -> None:
    assert files(Plan(10**6, critiqued=300, propagated=10**6, rounds=2)) == {
        "sample": 245,
        "explain": 5,
        "propagate": 2 * 15_625,
    }


def test_a_plan_needs_its_images() -> None:
    for wrong in ({"critiqued": 0}, {"critiqued": 60, "rounds": 2}, {"propagated": 101}):
        with pytest.raises(ValueError, match="must critique some of its images"):
            Plan(100, **{"critiqued": 10} | wrong)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.012"),
        (1.25, "1.2"),
        (12.5, "12"),
        (1234, "1,200"),
        (98.7e9, "9.9e10"),
        (3e12, "3.0e12"),
    ],
)
def test_numbers_have_two_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_page_shows_what_follows_from_the_constants() -> None:
    page = PAGE.read_text()
    assert fill(page, tables(Measured.read(), Stated())) == page


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the marks"):
        fill("nothing", {"answer": "a table"})

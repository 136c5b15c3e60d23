"""Many requests at once to a server that takes its time, against the time that it takes in any case."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest

from benchmarks.compare import Compare
from lvlm_va.backends import ChatReply, ChatRequest, Turn
from tests.serving import Answer, FaultServer

REQUESTS, CONCURRENCY, SECONDS = 64, 8, 0.05
ROUNDS = 7
IDEAL = REQUESTS / CONCURRENCY * SECONDS


def test_backend_concurrency_ideal(compare: Compare, benchmark: Any) -> None:
    """Timed by the clock whatever the run's timer: waiting takes no processor time."""
    pytest.importorskip("openai")
    from lvlm_va.backends import OpenAIBackend

    requests = [ChatRequest((Turn("user", (f"request {i}",)),)) for i in range(REQUESTS)]
    seconds = []
    with FaultServer(lambda asked: Answer(delay=SECONDS)) as server:
        backend = OpenAIBackend("tiny", base_url=server.url, concurrency=CONCURRENCY)

        def ask() -> None:
            start = time.perf_counter()
            replies = backend.complete(requests)
            seconds.append(time.perf_counter() - start)
            texts = [reply.text for reply in replies if isinstance(reply, ChatReply)]
            assert texts == [f"request {i}" for i in range(REQUESTS)]

        ask()
        seconds.clear()
        benchmark.pedantic(ask, rounds=ROUNDS)
        assert server.peak == CONCURRENCY
    ratios = [value / IDEAL for value in seconds]
    compare.record(
        statistics.median(seconds),
        IDEAL,
        "s",
        spread=(min(ratios), max(ratios)),
        note="client and server share one process; the ideal is 8 rounds of 50 ms",
        seconds=seconds,
    )

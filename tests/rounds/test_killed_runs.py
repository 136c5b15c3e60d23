"""Runs killed at any of their stages and begun again: the same result, and no answer asked for twice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests import killing
from tests.critique.scripted import segments_of
from tests.serving import Answer, Asked, FaultServer

pytestmark = pytest.mark.skipif("sys.platform != 'linux'")

# LVLM_VA_KILL_AT=everywhere tries each time that a step is taken, in a run of two rounds; that takes minutes.
EVERYWHERE = os.environ.get("LVLM_VA_KILL_AT") == "everywhere"
STEPS = [
    "run.json", "train", "sample shard", "sample", "explain shard", "explain", "segment shard", "segment clean up",
    "shown", "critiques append", "judged append", "candidates shard", "verdicts", "alignment-set", "propagate shard",
    "propagate clean up", "align", "outcome shard", "latest.json",
]  # fmt: skip


@dataclass(frozen=True)
class Whole:
    """What a run that nobody killed did, asked and found."""

    steps: list[str]
    asked: Counter[str]
    result: tuple[str, dict[str, bytes]]


class Critic:
    """A model that goes by the picture, and may leave requests without an answer."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self._lock, self._dropped = threading.Lock(), threading.Event()
        self.let_go()

    def hold_after(self, n_answers: int) -> None:
        self._left, self.held = n_answers, 0
        self._dropped.clear()

    def let_go(self) -> None:
        self._left, self.held = sys.maxsize, 0
        self._dropped.set()

    def __call__(self, asked: Asked) -> Answer:
        digest = hashlib.sha256(json.dumps(asked.body).encode()).digest()
        with self._lock:
            hold = self._left <= 0
            self._left -= 1
            self.held += hold
            self.answered[digest.hex()] += not hold
        if hold:
            self._dropped.wait(60)
            return Answer(cut_after=0)
        words = ["spurious" if byte % 2 else "relevant" for byte in digest]
        return Answer("\n".join(f"Segment {k}: {words[k]}" for k in segments_of(asked.text)))


class Runs:
    """Starts runs in processes forked from one that has loaded everything."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.killing"])

    def start(self, name: str, kill_at: int | None = None, by: int = signal.SIGKILL) -> Any:
        run_dir, outcome = self.folder / name, self.folder / f"{name} outcome"
        arguments = (run_dir, self.url, outcome, kill_at, 1 + EVERYWHERE, by)
        process = self._context.Process(target=killing.fit, args=arguments)
        process.start()
        return process

    def finish(self, name: str, kill_at: int | None = None, by: int = signal.SIGKILL) -> int | None:
        process = self.start(name, kill_at, by)
        process.join()
        return process.exitcode

    def result(self, name: str) -> tuple[str, dict[str, bytes]]:
        """Return the verdicts, and all tensors as bytes."""
        outcome = self.folder / f"{name} outcome"
        tensors = load_file(outcome / "tensors.safetensors")
        return (outcome / "verdicts.json").read_text(), {k: v.tobytes() for k, v in tensors.items()}


def replies(run_dir: Path) -> int:
    try:
        connection = sqlite3.connect(f"file:{run_dir}/replies.sqlite?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        return int(connection.execute("select count(*) from replies").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def critic() -> Critic:
    return Critic()


@pytest.fixture(scope="module")
def runs(critic: Critic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with FaultServer(critic) as server:
        yield Runs(tmp_path_factory.mktemp("runs"), server.url)


@pytest.fixture(scope="module")
def whole(runs: Runs, critic: Critic) -> Whole:
    """A run that nobody killed."""
    assert runs.finish("whole") == 0
    steps = json.loads((runs.folder / "whole outcome" / "steps.json").read_text())
    return Whole(steps, Counter(critic.answered), runs.result("whole"))


@pytest.mark.parametrize("step", STEPS)
def test_killed_just_before_a_step(step: str, runs: Runs, critic: Critic, whole: Whole) -> None:
    assert set(whole.asked.values()) == {1}
    places = [place for place, name in enumerate(whole.steps) if name == step]
    for place in places if EVERYWHERE else [places[len(places) // 2]]:
        name = f"killed at {place}"
        critic.answered.clear()
        assert runs.finish(name, place) == -signal.SIGKILL
        assert runs.finish(name) == 0
        assert runs.result(name) == whole.result
        assert critic.answered == whole.asked


@pytest.mark.parametrize("step", ["critiques append", "align"])
def test_stopped_by_ctrl_c(step: str, runs: Runs, critic: Critic, whole: Whole) -> None:
    place = whole.steps.index(step)
    name = f"stopped at {place}"
    critic.answered.clear()
    assert runs.finish(name, place, by=signal.SIGINT) == 1
    assert runs.finish(name) == 0
    assert runs.result(name) == whole.result
    assert critic.answered == whole.asked


@pytest.mark.parametrize(
    ("n_answered", "by"), [(0, signal.SIGKILL), (3, signal.SIGKILL), (3, signal.SIGINT), (10, signal.SIGKILL)]
)
def test_killed_while_requests_are_under_way(
    n_answered: int, by: int, runs: Runs, critic: Critic, whole: Whole
) -> None:
    name = f"killed by {by} after {n_answered}"
    critic.answered.clear()
    critic.hold_after(n_answered)
    process = runs.start(name)
    deadline = time.monotonic() + 120
    while not (critic.held and replies(runs.folder / name) == n_answered):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, by)
    process.join()
    critic.let_go()
    assert runs.finish(name) == 0
    assert runs.result(name) == whole.result
    assert critic.answered == whole.asked

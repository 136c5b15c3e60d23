"""Runs killed at any of their stages and begun again: the same result, and no answer asked for twice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lvlm_va.testing import Answer, Asked, FaultServer
from tests import killing

pytestmark = pytest.mark.skipif("sys.platform != 'linux'")

# LVLM_VA_KILL_AT=everywhere tries every step, which takes minutes.
EVERYWHERE = os.environ.get("LVLM_VA_KILL_AT") == "everywhere"
STEPS = [
    "train", "sample shard", "explain shard", "segment shard", "segment clean up", "critiques append",
    "judged append", "candidates shard", "verdicts", "propagate shard", "align", "outcome shard", "latest.json",
]  # fmt: skip


class Critic:
    """A model that goes by the picture, and keeps some requests waiting for ever."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.left, self.held = 10**6, 0
        self.dropped, self._lock = threading.Event(), threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        digest = hashlib.sha256(json.dumps(asked.body).encode()).digest()
        with self._lock:
            hold = self.left <= 0
            self.left -= 1
            self.held += hold
            self.answered[digest.hex()] += not hold
        if hold:
            self.dropped.wait(60)
            return Answer(cut_after=0)
        words = ["spurious" if byte % 2 else "relevant" for byte in digest]
        return Answer(
            "\n".join(f"Segment {k}: {words[int(k)]}" for k in re.findall(r"Segment (\d+): WORD", asked.text))
        )


class Runs:
    """Starts runs in processes forked from one that has loaded everything."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.killing"])

    def start(self, name: str, kill_at: int | None = None) -> Any:
        run_dir, outcome = self.folder / name, self.folder / f"{name} outcome"
        process = self._context.Process(target=killing.fit, args=(run_dir, self.url, outcome, kill_at))
        process.start()
        return process

    def finish(self, name: str, kill_at: int | None = None) -> int | None:
        process = self.start(name, kill_at)
        process.join()
        return process.exitcode

    def steps(self, name: str) -> list[str]:
        return json.loads((self.folder / f"{name} outcome" / "steps.json").read_text())

    def assert_same(self, name: str, other: str) -> None:
        one, two = (self.folder / f"{each} outcome" for each in (name, other))
        assert (one / "verdicts.json").read_text() == (two / "verdicts.json").read_text()
        found, expected = load_file(one / "tensors.safetensors"), load_file(two / "tensors.safetensors")
        assert found.keys() == expected.keys()
        differing = [
            k
            for k, value in expected.items()
            if not torch.equal(value.nan_to_num(-1), found[k].nan_to_num(-1))
        ]
        assert not differing


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


def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    critic = Critic()
    with FaultServer(critic) as server:
        runs = Runs(tmp_path, server.url)
        assert runs.finish("whole") == 0
        asked, critic.answered = critic.answered, Counter()
        assert set(asked.values()) == {1}
        steps = runs.steps("whole")
        assert set(STEPS) <= set(steps)

        points = range(len(steps)) if EVERYWHERE else [_middle(steps, step) for step in STEPS]
        for point in points:
            name = f"killed at {point}"
            assert runs.finish(name, point) == -signal.SIGKILL
            assert runs.finish(name) == 0
            runs.assert_same(name, "whole")
            assert critic.answered == asked, steps[point]
            critic.answered.clear()

        # While requests are under way: those that were answered are not sent again.
        for n_answered in (0, 3, len(asked) - 1):
            name = f"killed after {n_answered}"
            critic.left, critic.held = n_answered, 0
            critic.dropped.clear()
            process = runs.start(name)
            deadline = time.monotonic() + 60
            while not (critic.held and replies(tmp_path / name) == n_answered):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.kill()
            process.join()
            critic.dropped.set()
            critic.left = 10**6
            assert runs.finish(name) == 0
            runs.assert_same(name, "whole")
            assert critic.answered == asked
            critic.answered.clear()


def _middle(steps: list[str], name: str) -> int:
    places = [place for place, step in enumerate(steps) if step == name]
    return places[len(places) // 2]

"""A run killed in the middle and begun again: no reply that had come is asked for twice."""

import multiprocessing
import sqlite3
import threading
import time
from collections import Counter

import pytest

from lvlm_va.backends import OpenAIBackend, wrap_backend
from tests.backends.inner import ask, texts
from tests.serving import Answer, FaultServer

REQUESTS = [ask(f"critique {i}") for i in range(500)]
NAMES = [f"critique {i}" for i in range(500)]
CONCURRENCY = 8


class Holding:
    """Answer so many requests, and leave all others without an answer until they are dropped."""

    def __init__(self, left, delay=0.0):
        self.left, self.delay, self.held = left, delay, 0
        self.dropped, self.lock = threading.Event(), threading.Lock()

    def __call__(self, asked):
        with self.lock:
            hold = self.left <= 0
            self.left -= 1
            self.held += hold
        if hold:
            self.dropped.wait(60)
            return Answer(cut_after=0)
        return Answer(delay=self.delay)


def run(url, path):
    backend = OpenAIBackend("critic", base_url=url, concurrency=CONCURRENCY)
    return texts(wrap_backend(backend, cache=path).complete(REQUESTS))


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(path):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("select count(*) from replies").fetchone()[0]
    except sqlite3.OperationalError:  # not there yet
        return 0
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replies.sqlite"


def start_run(server, path):
    process = multiprocessing.get_context("spawn").Process(target=run, args=(server.url, path))
    process.start()
    return process


def test_no_reply_that_had_come_is_asked_for_twice(path):
    """Killed while eight requests are unanswered, and every answered one therefore was read."""
    script = Holding(200)
    with FaultServer(script) as server:
        process = start_run(server, path)
        wait_until(lambda: script.held == CONCURRENCY)
        wait_until(lambda: path.exists() and written(path) == 200)
        process.kill()
        process.join()
        script.dropped.set()
        script.left = 10_000
        assert run(server.url, path) == NAMES
    assert server.answered == Counter(NAMES)


def test_killed_at_any_moment_no_more_is_repeated_than_was_under_way(path):
    with FaultServer(Holding(10_000, delay=0.005)) as server:
        process = start_run(server, path)
        wait_until(lambda: server.answered.total() >= 150)
        process.kill()
        process.join()
        assert server.answered.total() < 500
        assert run(server.url, path) == NAMES
    assert set(server.answered) == set(NAMES)
    assert server.answered.total() <= 500 + CONCURRENCY

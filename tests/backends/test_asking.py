"""Threads and processes that ask the same at the same time: each question is paid for once."""

import multiprocessing
import sys
import threading
import time
from collections import Counter

import pytest

from lvlm_va.backends import CachedBackend, ChatFailure, OpenAIBackend, wrap_backend
from lvlm_va.backends.asking import Asking
from lvlm_va.testing import Answer, FaultServer
from tests.backends.inner import Inner, ask, kinds, texts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the locks are Linux's")
REQUESTS = [ask(str(i)) for i in range(20)]
NAMES = [str(i) for i in range(20)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replies.sqlite"


def _ask(url, path, order, barrier, queue):
    backend = wrap_backend(OpenAIBackend("critic", base_url=url, concurrency=4), cache=path)
    barrier.wait()
    queue.put(texts(backend.complete(REQUESTS[::order])[::order]))


def test_two_processes_that_ask_the_same_pay_once(path):
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    with FaultServer(lambda asked: Answer(delay=0.02)) as server:
        workers = [
            context.Process(target=_ask, args=(server.url, path, order, barrier, queue)) for order in (1, -1)
        ]
        for worker in workers:
            worker.start()
        assert [queue.get(timeout=120) for _ in workers] == [NAMES, NAMES]
        for worker in workers:
            worker.join()
    assert server.answered == Counter(NAMES)


def _ask_and_hang(url, path):
    CachedBackend(OpenAIBackend("critic", base_url=url), path).complete(REQUESTS)


def test_what_a_killed_process_was_asking_is_asked_again(path):
    with FaultServer([Answer(delay=60)] * 8) as server:
        process = multiprocessing.get_context("spawn").Process(target=_ask_and_hang, args=(server.url, path))
        process.start()
        while len(server.asked) < 8:
            time.sleep(0.01)
        threading.Timer(0.2, process.kill).start()
        backend = OpenAIBackend("critic", base_url=server.url)
        assert texts(CachedBackend(backend, path).complete(REQUESTS)) == NAMES
        process.join()


class Held(Inner):
    """Holds its first call until it is let go."""

    def __init__(self, outcome=None):
        super().__init__((lambda *_: outcome) if outcome else None)
        self.entered, self.go = threading.Event(), threading.Event()

    def complete(self, requests):
        self.entered.set()
        assert self.go.wait(60)
        return super().complete(requests)


def both(first, second, path, requests=(REQUESTS[0],)):
    """Ask `second` while `first` is asking; return what each got."""
    got = {}

    def work(name, backend):
        got[name] = CachedBackend(backend, path).complete(requests)

    threads = [threading.Thread(target=work, args=(name, b)) for name, b in enumerate((first, second))]
    threads[0].start()
    assert first.entered.wait(60)
    threads[1].start()
    first.go.set()
    for thread in threads:
        thread.join()
    return got[0], got[1]


def test_threads_wait_for_each_other(path):
    first, second = Held(), Inner()
    got = both(first, second, path)
    assert second.calls == []
    assert [outcome.cached for (outcome,) in got] == [False, True]


def test_what_failed_for_one_is_asked_by_the_other(path):
    first, second = Held(ChatFailure("server", "no")), Inner()
    got = both(first, second, path, REQUESTS[:3])
    assert kinds(got[0]) == ["server"] * 3
    assert texts(got[1]) == NAMES[:3]
    assert sorted(second.asked) == NAMES[:3]


def test_a_call_that_is_given_up_leaves_its_questions_to_others(path):
    replies = CachedBackend(Inner(batch_size=1), path).complete_each(REQUESTS)
    next(replies)
    replies.close()
    assert texts(CachedBackend(Inner(), path).complete(REQUESTS)) == NAMES


def test_a_key_is_taken_by_one_owner_at_a_time(tmp_path):
    with Asking(tmp_path / "asking") as one, Asking(tmp_path / "asking") as other:
        assert one.take("ab12")
        assert other.take("ab13")
        assert not other.take("ab12")
        one.give_back("ab12")
        other.wait("ab12")
        assert other.take("ab12")
    with Asking(tmp_path / "asking") as third:
        assert third.take("ab12")

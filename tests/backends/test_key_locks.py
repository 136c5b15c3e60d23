"""Threads and processes that ask the same at the same time: each question is paid for once."""

import multiprocessing
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from lvlm_va.backends import CachedBackend, ChatFailure, OpenAIBackend, wrap_backend
from lvlm_va.backends.reply_store import ReplyStore
from tests.backends.inner import Inner, ask, kinds, texts
from tests.serving import Answer, FaultServer

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


@contextmanager
def owner(path):
    with ReplyStore(path).open() as replies, replies.locks() as locks:
        yield locks


def test_a_key_is_held_by_one_owner_at_a_time(path):
    with owner(path) as one, owner(path) as other:
        assert one.acquire("ab12")
        assert one.acquire("ab12")
        assert other.acquire("ab13")
        assert not other.acquire("ab12")
        other.release("ab12")  # which it does not hold
        assert not other.acquire("ab12")
        one.release("ab12")
        other.wait("ab12")
        assert other.acquire("ab12")
    with owner(path) as third:
        assert third.acquire("ab12")


def test_an_owner_of_many_keys_has_one_file_and_leaves_none(path):
    with owner(path) as one, owner(path) as other:
        assert all(one.acquire(f"{key:x}") for key in range(2000))
        assert not other.acquire("5")
        assert all(other.acquire(f"{key:x}") for key in range(2000, 2100))
        assert len(list(path.parent.glob(".*"))) == 2
    assert list(path.parent.iterdir()) == [path]


def _hold(path, keys, said):
    with owner(path) as locks:
        said.put([locks.acquire(key) for key in keys])
        time.sleep(600)


def test_what_the_dead_held_is_free_and_their_file_is_removed(path):
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    process = context.Process(target=_hold, args=(path, ["a", "b", "c"], said))
    process.start()
    assert said.get(timeout=120) == [True] * 3
    with owner(path) as locks:
        assert locks.acquire("d")
        assert not locks.acquire("a")
        process.kill()
        process.join()
        locks.wait("a")
        assert all(locks.acquire(key) for key in "abc")
        assert len(list(path.parent.glob(".*"))) == 1

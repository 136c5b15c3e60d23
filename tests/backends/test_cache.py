"""Replies that are kept, found again, and shared between threads and processes."""

import copy
import json
import multiprocessing
import pickle
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from lvlm_va.backends import CachedBackend, ChatFailure, complete_each
from tests.backends.inner import Inner, Streaming, ask, kinds, reply, text_of, texts

REQUESTS = [ask(str(i)) for i in range(20)]
NAMES = [str(i) for i in range(20)]


def look(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchone()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replies.sqlite"


@pytest.mark.parametrize("make", [Inner, Streaming])
def test_what_was_asked_before_is_read(make, path):
    first = CachedBackend(make(), path).complete(REQUESTS)
    assert not any(outcome.cached for outcome in first)
    inner = make()
    again = CachedBackend(inner, path).complete(REQUESTS)
    assert inner.calls == []
    assert again == [replace(outcome, cached=True) for outcome in first]


def test_all_of_a_reply_is_kept(path):
    full = reply("ä\ud800\0", finish="refusal", choice_probs={"yes": 1 / 3, "no": 2 / 3}, reply_id="r1")
    CachedBackend(Inner(lambda *_: full), path).complete([ask()])
    assert CachedBackend(Inner(), path).complete([ask()]) == [replace(full, cached=True)]


def test_a_reply_in_the_numbers_of_numpy_is_kept(path):
    """What was paid for is not lost to a backend's kind of numbers."""
    tokens = (np.int64(3), np.int32(4))
    given = reply(tokens=tokens, choice_probs={"yes": np.float32(0.25), "no": np.float32(0.75)})
    CachedBackend(Inner(lambda *_: given), path).complete([ask()])
    (kept,) = CachedBackend(Inner(), path).complete([ask()])
    assert kept == reply(tokens=(3, 4), choice_probs={"yes": 0.25, "no": 0.75}, cached=True)


def test_only_what_is_missing_is_asked_and_the_order_is_kept(path):
    inner = Inner()
    cached = CachedBackend(inner, path)
    cached.complete(REQUESTS[5:10])
    assert texts(cached.complete(REQUESTS)) == NAMES
    assert sorted(inner.asked) == sorted(NAMES)


def test_another_fingerprint_is_another_question(path):
    CachedBackend(Inner(mark="a"), path).complete(REQUESTS)
    inner = Inner(mark="b")
    CachedBackend(inner, path).complete(REQUESTS)
    assert len(inner.asked) == len(REQUESTS)


def test_votes_are_asked_separately(path):
    inner = Inner()
    CachedBackend(inner, path).complete([ask(sample=0), ask(sample=1)])
    assert len(inner.asked) == 2


def test_equal_requests_of_one_call_are_asked_once(path):
    inner = Inner()
    image = np.zeros((2, 2, 3))
    outcomes = CachedBackend(inner, path).complete(
        [ask("a", image), ask("b"), ask("a", image.copy(order="F"))]
    )
    assert texts(outcomes) == ["a", "b", "a"]
    assert inner.asked == ["a", "b"]
    assert [outcome.cached for outcome in outcomes] == [False, False, True]


@pytest.mark.parametrize(
    "unkept",
    [ChatFailure("server", "no"), *(reply(text, finish="length") for text in ("", " \n", "cut"))],
    ids=["failure", "empty", "blank", "cut"],
)
def test_failures_and_replies_that_broke_off_are_asked_again(unkept, path):
    cached = CachedBackend(Inner(lambda *_: unkept), path)
    assert cached.complete([ask(), ask()])[0] == unkept
    assert cached.info().replies == 0
    assert texts(CachedBackend(Inner(), path).complete([ask()])) == ["What is it?"]


@pytest.mark.parametrize("kept", [reply("", finish="stop"), reply("no", finish="refusal")])
def test_other_replies_are_kept(kept, path):
    CachedBackend(Inner(lambda *_: kept), path).complete([ask()])
    assert CachedBackend(Inner(), path).complete([ask()]) == [replace(kept, cached=True)]


def test_each_reply_is_written_before_it_is_handed_over(path):
    cached = CachedBackend(Streaming(), path)
    for count, _ in enumerate(complete_each(cached, REQUESTS), start=1):
        assert look(path, "select count(*) from replies") == (count,)


def test_replies_before_an_exception_are_kept(path):
    def answer(request, before):
        if text_of(request) == "10":
            raise KeyboardInterrupt
        return reply(text_of(request))

    with pytest.raises(KeyboardInterrupt):
        CachedBackend(Inner(answer, batch_size=2), path).complete(REQUESTS)
    inner = Inner()
    assert texts(CachedBackend(inner, path).complete(REQUESTS)) == NAMES
    assert inner.asked == NAMES[10:]


def test_it_says_what_it_holds(path):
    cached = CachedBackend(Inner(), path)
    assert ask("0") not in cached
    cached.complete(REQUESTS)
    assert ask("0") in cached
    assert ask("0", seed=1) not in cached
    info = cached.info()
    assert (info.path, info.replies) == (path, 20)
    assert info.bytes == path.stat().st_size


def test_the_file_alone_is_the_whole_cache(path, tmp_path):
    CachedBackend(Inner(), path).complete(REQUESTS)
    assert [file for file in tmp_path.iterdir() if file.stat().st_size] == [path]
    shutil.copy(path, tmp_path / "copy.sqlite")
    inner = Inner()
    assert texts(CachedBackend(inner, tmp_path / "copy.sqlite").complete(REQUESTS)) == NAMES
    assert inner.calls == []


def test_it_holds_neither_questions_nor_pixels_nor_pickles(path):
    image = np.full((8, 8, 3), 77)
    CachedBackend(Inner(lambda *_: reply("an answer"), mark="host"), path).complete([ask("SECRET", image)])
    content = path.read_bytes()
    assert b"an answer" in content
    assert b"SECRET" not in content
    assert b"M" * 8 not in content
    (value,) = look(path, "select reply from replies")
    assert json.loads(value)["text"] == "an answer"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_use_the_same_file(duplicate, path):
    cached = CachedBackend(Inner(), path)
    twin = duplicate(cached)
    twin.complete([ask()])
    assert cached.complete([ask()])[0].cached


def test_threads_share_one_object(path):
    cached = CachedBackend(Inner(), path)
    outcomes = {}

    def work(number):
        outcomes[number] = cached.complete([ask(f"{number} {i}") for i in range(50)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(texts(outcomes[n]) == [f"{n} {i}" for i in range(50)] for n in range(8))
    assert cached.info().replies == 400


def _write(path, number, barrier):
    barrier.wait()
    cached = CachedBackend(Inner(), path)
    for start in range(0, 200, 20):
        cached.complete([ask(f"own {number} {i}") for i in range(start, start + 20)])
        cached.complete([ask(f"common {i}") for i in range(start, start + 20)])


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*use of fork\\(\\) may lead to deadlocks:DeprecationWarning")
def test_four_processes_write_at_once(method, path):
    context = multiprocessing.get_context(method)
    barrier = context.Barrier(4)
    workers = [context.Process(target=_write, args=(path, number, barrier)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert CachedBackend(Inner(), path).info().replies == 4 * 200 + 200
    assert look(path, "pragma integrity_check") == ("ok",)


def test_a_file_of_another_kind_is_named(path):
    path.write_bytes(b"not a database, but long enough to be read as one" * 50)
    with pytest.raises(ValueError, match="replies.sqlite' is not a readable file of replies: .*move it away"):
        CachedBackend(Inner(), path)
    assert path.read_bytes().startswith(b"not a database")


def test_somebody_elses_database_is_left_alone(path):
    look(path, "create table patients (name text)")
    with pytest.raises(ValueError, match="sqlite file of another kind or version"):
        CachedBackend(Inner(), path)


def test_damage_is_named_when_it_is_met(path):
    cached = CachedBackend(Inner(lambda *_: reply("x" * 5000)), path)
    cached.complete(REQUESTS)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="replies.sqlite' is not a readable file of replies"):
        cached.complete(REQUESTS)


def test_an_edited_reply_is_named(path):
    cached = CachedBackend(Inner(), path)
    cached.complete([ask()])
    look(path, "update replies set reply = '{\"text\": 1}'")
    with pytest.raises(ValueError, match="replies.sqlite' is not a readable file of replies"):
        cached.complete([ask()])


@pytest.mark.parametrize("change", ["replace(reply, 'answer', 'Answer')", "replace(reply, '{', '[')"])
def test_a_damaged_reply_is_asked_for_again_and_the_others_stay(change, path):
    inner = Inner(lambda *_: reply("an answer"))
    CachedBackend(inner, path).complete(REQUESTS[:3])
    look(path, f"update replies set reply = {change} where key = (select min(key) from replies)")
    again = Inner(lambda *_: reply("an answer"))
    with pytest.warns(UserWarning, match=r"A reply in the cache .*replies\.sqlite' is damaged"):
        assert texts(CachedBackend(again, path).complete(REQUESTS[:3])) == ["an answer"] * 3
    assert sum(map(len, again.calls)) == 1
    assert all(outcome.cached for outcome in CachedBackend(Inner(), path).complete(REQUESTS[:3]))


def test_a_folder_in_its_place_is_named(tmp_path):
    with pytest.raises(OSError, match="could not be opened or written"):
        CachedBackend(Inner(), tmp_path)


def test_what_the_inner_backend_did_not_send_is_said(path):
    inner = Inner(lambda *_: ChatFailure("auth", "wrong key"), batch_size=2)
    outcomes = CachedBackend(inner, path).complete(REQUESTS)
    assert kinds(outcomes) == ["auth"] * 20
    assert outcomes[-1].message == "Not sent, because an earlier request failed: wrong key"
    assert len(inner.asked) == 2


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cached = CachedBackend(Inner(), "here/replies.sqlite")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cached.complete(REQUESTS)
    assert CachedBackend(Inner(), tmp_path / "here" / "replies.sqlite").info().replies == 20

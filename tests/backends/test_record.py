"""The record of exchanges, and all wrappers together."""

import multiprocessing
from datetime import datetime

import numpy as np
import pytest

from lvlm_va.backends import Budget, ChatBackend, ChatFailure, RecordingBackend, read_exchanges, wrap_backend
from tests.backends.inner import Inner, Streaming, ask, kinds, reply, text_of, texts

REQUESTS = [ask(str(i)) for i in range(10)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exchanges.jsonl"


def asked(exchange):
    return exchange["request"]["turns"][0]["parts"][0]


@pytest.mark.parametrize("make", [Inner, Streaming])
def test_every_exchange_is_recorded(make, path):
    def answer(request, before):
        return ChatFailure("server", "down") if text_of(request) == "3" else reply(text_of(request), (7, 8))

    outcomes = RecordingBackend(make(answer), path).complete(REQUESTS)
    exchanges = sorted(read_exchanges(path), key=asked)
    assert [asked(exchange) for exchange in exchanges] == [str(i) for i in range(10)]
    assert exchanges[3]["failure"] == {"kind": "server", "message": "down", "retry_after": None}
    assert exchanges[4]["reply"]["text"] == outcomes[4].text == "4"
    assert exchanges[4]["reply"]["usage"] == {"input_tokens": 7, "output_tokens": 8}
    assert all(exchange["backend"] == "inner" for exchange in exchanges)
    assert datetime.fromisoformat(exchanges[0]["at"]).tzinfo is not None


def test_images_are_recorded_by_digest_and_size_alone(path):
    request = ask("Look.", np.full((8, 9, 3), 77))
    RecordingBackend(Inner(), path).complete([request])
    (exchange,) = read_exchanges(path)
    assert exchange["request"]["turns"][0]["parts"] == [
        "Look.",
        {"image": request.images[0].sha256, "height": 8, "width": 9},
    ]
    content = path.read_bytes()
    assert b"M" * 8 not in content
    assert b"77, 77" not in content


def test_a_half_written_line_harms_no_other(path):
    backend = RecordingBackend(Inner(), path)
    backend.complete(REQUESTS[:2])
    path.write_bytes(path.read_bytes()[:-20])
    backend.complete(REQUESTS[2:4])
    assert [asked(exchange) for exchange in read_exchanges(path)] == ["0", "2", "3"]


def test_words_stay_on_their_line(path):
    words = "one\ntwo\r\x85\u2028\ud800\0"
    RecordingBackend(Inner(lambda *_: reply(words)), path).complete([ask(words)])
    (exchange,) = read_exchanges(path)
    assert exchange["reply"]["text"] == asked(exchange) == words


def _record(path, number):
    RecordingBackend(Inner(), path).complete([ask(f"{number} {i} " + "x" * 5000) for i in range(50)])


def test_processes_share_a_record(path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_record, args=(path, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({asked(exchange) for exchange in read_exchanges(path)}) == 100
    assert sum(line != b"" for line in path.read_bytes().splitlines()) == 100


def test_all_wrappers_in_order(path, tmp_path):
    """A cached reply is neither charged nor retried, and shows in the record."""

    def answer(request, before):
        return reply(text_of(request)) if before else ChatFailure("server", "down", 0.0)

    inner, budget = Inner(answer), Budget(max_requests=20)
    backend = wrap_backend(inner, cache=tmp_path / "replies.sqlite", budget=budget, record=path)
    assert isinstance(backend, ChatBackend)
    assert (backend.name, backend.fingerprint()) == (inner.name, inner.fingerprint())
    assert texts(backend.complete(REQUESTS)) == [str(i) for i in range(10)]
    assert (len(inner.asked), budget.spent.requests) == (20, 20)  # the failures too
    assert texts(backend.complete(REQUESTS)) == [str(i) for i in range(10)]
    assert (len(inner.asked), budget.spent.requests) == (20, 20)
    assert [exchange["reply"]["cached"] for exchange in read_exchanges(path)] == [False] * 10 + [True] * 10
    assert kinds(backend.complete([ask("new")])) == ["budget"]
    assert read_exchanges(path)[-1]["failure"]["kind"] == "budget"


def test_only_what_is_asked_for_is_wrapped(tmp_path):
    assert repr(wrap_backend(Inner())).startswith("RetryingBackend(<")
    assert repr(wrap_backend(Inner(), cache=tmp_path / "c", record=tmp_path / "r")).startswith(
        "RecordingBackend(CachedBackend(RetryingBackend(<"
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c"]

"""Batches: handed over once, fetched whatever goes wrong, and found again by a process that begins anew."""

import json
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lvlm_va.backends import (
    AnthropicBackend,
    BatchChatBackend,
    BatchedBackend,
    Budget,
    Capabilities,
    OpenAIBackend,
    Prices,
    RetryingBackend,
    ScriptedBackend,
    Usage,
    read_exchanges,
    wrap_backend,
)
from lvlm_va.backends.request_json import request_key
from lvlm_va.report.cost import read_costs
from lvlm_va.testing import check_batches
from tests.backends.inner import ask, kinds, texts
from tests.serving import FAULTS, Answer, FaultServer

MAKERS = [OpenAIBackend, AnthropicBackend]
both = pytest.mark.parametrize("make", MAKERS)
NAMES = [f"critique {i}" for i in range(5)]
REQUESTS = [ask(name) for name in NAMES]


def backend_for(server, make, **settings):
    return make("tiny", base_url=server.url if issubclass(make, OpenAIBackend) else server.root, **settings)


def batched(server, make, folder, **settings):
    return BatchedBackend(backend_for(server, make), folder / "batches", poll=0, **settings)


def retried(server, make, folder, **settings):
    return RetryingBackend(batched(server, make, folder, **settings), first_wait=0)


def only(call, *answers):
    """Return a script that answers the first calls of a kind in turn."""

    def script(name, number):
        return answers[number] if name == call and number < len(answers) else Answer()

    return script


def files(folder):
    return list((folder / "batches").glob("*.json"))


@both
def test_one_batch_answers_all(make, tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    with FaultServer(batch_polls=3) as server:
        backend = batched(server, make, tmp_path)
        assert isinstance(backend.backend, BatchChatBackend)
        replies = backend.complete([*REQUESTS, ask("look", image), REQUESTS[0]])
        assert texts(replies) == [*NAMES, "look", NAMES[0]]
        (batch,) = server.batches
        assert batch.ids == [
            request_key(request, backend.fingerprint()) for request in [*REQUESTS, ask("look", image)]
        ]
        assert batch.polls == 3
    assert replies[0].usage.input_tokens > 0
    assert [reply.cached for reply in replies] == [False] * 6 + [True]
    assert not files(tmp_path)


@both
def test_ours_keep_what_batches_promise(make):
    with FaultServer(batch_polls=2) as server:
        check_batches(backend_for(server, make), poll=0)


@pytest.mark.parametrize(
    ("method", "result", "message"),
    [
        ("n_fitting", 0, "'n_fitting' must return a number from 1 to 3"),
        ("submit", None, "'submit' must return a BatchTicket"),
        ("find", [], "'find' must return a list with the batch's id"),
        ("collect", {}, "'collect' must return an outcome for each of the ticket's keys"),
    ],
)
def test_broken_promises_are_named(method, result, message, monkeypatch):
    with FaultServer() as server:
        backend = backend_for(server, OpenAIBackend)
        monkeypatch.setattr(backend, method, lambda *arguments: result)
        with pytest.raises(AssertionError, match=message):
            check_batches(backend, poll=0)


@both
def test_the_same_is_sent_as_one_by_one(make, tmp_path):
    with FaultServer() as server:
        batched(server, make, tmp_path).complete([ask("a", temperature=0.5, schema={"type": "object"})])
        backend_for(server, make).complete([ask("a", temperature=0.5, schema={"type": "object"})])
    assert server.asked[0].body == server.asked[1].body


@both
def test_big_jobs_are_cut(make, tmp_path, monkeypatch):
    with FaultServer() as server:
        monkeypatch.setattr(make, "_most_requests", 2)
        assert texts(batched(server, make, tmp_path).complete(REQUESTS)) == NAMES
    assert [len(batch.entries) for batch in server.batches] == [2, 2, 1]
    size = len(json.dumps(backend_for(server, make)._entry("0" * 64, REQUESTS[0]))) + 1
    monkeypatch.setattr(make, "_most_requests", 100)
    for most, sizes in ((3 * size, [3, 2]), (1, [1] * 5)):
        monkeypatch.setattr(make, "_most_bytes", most)
        with FaultServer() as server:
            assert texts(batched(server, make, tmp_path).complete(REQUESTS)) == NAMES
        assert [len(batch.entries) for batch in server.batches] == sizes


@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Answer("Broken.", status=500, code="api_error"), "server"),
        (Answer("Too late.", status=500, code="expired"), "server"),
        (Answer(body=b'{"custom_id": "half'), "malformed"),
        (Answer(cut_after=0), "malformed"),
        (Answer(body=b'{"custom_id": "another"}\n[1]'), "malformed"),
        (Answer("Bad.", status=400, code="invalid_request_error"), "bad_request"),
    ],
)
def test_entries_that_fail_fail_alone_and_are_handed_over_again(make, fault, kind, tmp_path):
    def script(asked):
        return fault if asked.text == NAMES[1] and asked.before == 0 else Answer()

    with FaultServer(script) as server:
        expected = [*NAMES[:1], kind, *NAMES[2:]]
        assert texts(batched(server, make, tmp_path).complete(REQUESTS)) == expected
    with FaultServer(script) as server:
        outcomes = texts(retried(server, make, tmp_path).complete(REQUESTS))
        assert outcomes == (expected if kind == "bad_request" else NAMES)
        assert [len(batch.entries) for batch in server.batches] == [5, 1][: 1 + (kind != "bad_request")]
    assert not files(tmp_path)


@both
@pytest.mark.parametrize("call", ["poll", "results"])
@pytest.mark.parametrize(
    "fault", [FAULTS["server error"], FAULTS["rate limit"], FAULTS["no answer"], Answer(cut_after=250)]
)
def test_failed_looks_are_repeated_and_nothing_is_handed_over_again(make, call, fault, tmp_path):
    with FaultServer(batch_script=only(call, fault, fault)) as server:
        assert texts(batched(server, make, tmp_path).complete(REQUESTS)) == NAMES
        assert len(server.batches) == 1


@both
def test_looks_that_keep_failing_lose_nothing(make, tmp_path):
    broken = only("poll", *[FAULTS["server error"]] * 5)
    with FaultServer(batch_script=broken) as server:
        backend = batched(server, make, tmp_path)
        outcomes = backend.complete(REQUESTS)
        assert kinds(outcomes) == ["pending"] * 5
        assert "Something broke" in outcomes[0].message
        assert texts(backend.complete(REQUESTS)) == NAMES
        assert len(server.batches) == 1


@both
def test_a_list_without_end_is_given_up_and_nothing_is_handed_over_again(make, tmp_path):
    """The acceptance was not heard, and the list in which the batch is looked for goes on for ever."""
    with FaultServer(batch_script=only("submit", FAULTS["no answer"]), batch_page=1) as server:
        backend = batched(server, make, tmp_path)
        assert kinds(backend.complete(REQUESTS[:1])) == ["connection"]
        when = time.time() if make is OpenAIBackend else "2999-01-01T00:00:00Z"
        page = {"data": [{"id": "b", "created_at": when, "request_counts": {}}], "has_more": True}
        server._desk._list = lambda language, query: json.dumps(page).encode()
        (outcome,) = backend.complete(REQUESTS[:1])
        assert (outcome.kind, len(server.batches)) == ("malformed", 1)
        assert outcome.message.startswith(
            "The server's reply is not as agreed: The server's list of batches has no"
        )


@both
def test_a_fatal_failure_ends_and_the_batch_is_kept(make, tmp_path):
    with FaultServer(batch_script=only("poll", FAULTS["authentication"])) as server:
        assert kinds(retried(server, make, tmp_path).complete(REQUESTS)) == ["auth"] * 5
        assert texts(retried(server, make, tmp_path).complete(REQUESTS)) == NAMES
        assert len(server.batches) == 1


@both
def test_a_batch_that_is_gone_is_handed_over_again(make, tmp_path):
    with FaultServer(batch_script=only("poll", FAULTS["not found"])) as server:
        assert texts(retried(server, make, tmp_path).complete(REQUESTS)) == NAMES
        assert len(server.batches) == 2


@both
@pytest.mark.parametrize("fault", [FAULTS["no answer"], FAULTS["truncated JSON"], Answer(cut_after=120)])
def test_an_acceptance_that_was_not_heard_is_found_at_the_provider(make, fault, tmp_path):
    # Others hand over batches at the same time.
    first_of_ours = only("submit", Answer(), Answer(), fault)
    with FaultServer(batch_script=first_of_ours, batch_page=1) as server:
        batched(server, make, tmp_path / "other").complete([ask("another job"), ask("of another size")])
        backend_for(server, make).submit({"0" * 64: REQUESTS[0]}, "another label")
        assert texts(retried(server, make, tmp_path).complete(REQUESTS)) == NAMES
    assert [len(batch.entries) for batch in server.batches] == [2, 1, 5]


@both
def test_a_refused_hand_over_is_tried_again(make, tmp_path):
    faults = [FAULTS["rate limit"], FAULTS["server error"]]
    with FaultServer(batch_script=only("submit", *faults)) as server:
        assert texts(retried(server, make, tmp_path).complete(REQUESTS)) == NAMES
        assert len(server.batches) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [("token_limit_exceeded", "rate_limit"), ("billing_hard_limit_reached", "quota"), ("bad", "bad_request")],
)
def test_batches_that_fail_validation(code, kind, tmp_path):
    fault = Answer("Not accepted.", status=400, code=code)
    with FaultServer(batch_script=only("validate", fault)) as server:
        outcomes = batched(server, OpenAIBackend, tmp_path).complete(REQUESTS)
    assert kinds(outcomes) == [kind] * 5
    assert "Not accepted." in outcomes[0].message
    assert not files(tmp_path)


@both
def test_the_server_refuses_custom_ids_that_occur_twice(make):
    with FaultServer() as server:
        backend = backend_for(server, make)
        entry = backend._entry("a", REQUESTS[0])
        came = backend._with_client(lambda client: backend._send(client, [entry, entry], "label"))
        refused = [batch.refused["code"] for batch in server.batches]
    assert refused == ["duplicate_custom_id"] if make is OpenAIBackend else came.kind == "bad_request"


def test_a_refused_parameter_is_left_out_the_next_time(tmp_path):
    with FaultServer(lambda asked: FAULTS["no temperature"]) as server:
        requests = [ask(name, temperature=0.0) for name in NAMES]
        assert texts(retried(server, OpenAIBackend, tmp_path).complete(requests)) == NAMES
        assert len(server.batches) == 2


def test_too_many_images_are_not_sent(tmp_path):
    with FaultServer() as server:
        backend = backend_for(server, OpenAIBackend, capabilities=Capabilities(max_images=0))
        outcomes = BatchedBackend(backend, tmp_path, poll=0).complete(
            [ask("a", np.zeros((1, 1, 3))), REQUESTS[0]]
        )
    assert texts(outcomes) == ["bad_request", NAMES[0]]


def hand_over_and_wait(url, folder):
    backend = OpenAIBackend("tiny", base_url=url)
    wrap_backend(backend, cache=folder / "replies.sqlite", batches=folder / "batches", poll=0.01).complete(
        REQUESTS
    )


def test_a_killed_run_hands_nothing_over_again(tmp_path):
    with FaultServer(batch_polls=10**9) as server:
        process = multiprocessing.get_context("spawn").Process(
            target=hand_over_and_wait, args=(server.url, tmp_path)
        )
        process.start()
        deadline = time.monotonic() + 60
        while not (server.batches and server.batches[0].polls > 1):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.join()
        server._desk._ready_after = 0
        stack = wrap_backend(
            OpenAIBackend("tiny", base_url=server.url),
            cache=tmp_path / "replies.sqlite",
            batches=tmp_path / "batches",
            poll=0,
        )
        assert texts(stack.complete(REQUESTS)) == NAMES
        assert len(server.batches) == 1
        assert [reply.cached for reply in stack.complete(REQUESTS)] == [True] * 5
        assert len(server.batches) == 1
        assert server.answered.total() == 5


@both
def test_not_waiting_and_the_budget(make, tmp_path):
    prices = Prices(1000.0, 1000.0)
    budget = Budget(max_requests=5, prices=prices)
    stack = {
        "cache": tmp_path / "replies.sqlite",
        "record": tmp_path / "record.jsonl",
        "batches": tmp_path / "batches",
        "budget": budget,
        "poll": 0,
    }
    with FaultServer(batch_polls=2) as server:
        backend = backend_for(server, make)
        hand_over = wrap_backend(backend, wait=False, **stack)
        assert kinds(hand_over.complete(REQUESTS)) == ["pending"] * 5
        # What is under way stays reserved: a sixth request does not fit.
        assert kinds(hand_over.complete([ask("one more")])) == ["budget"]
        replies = wrap_backend(backend, **stack).complete(REQUESTS)
        assert texts(replies) == NAMES
        assert len(server.batches) == 1
    usage = sum((reply.usage for reply in replies), Usage())
    assert budget.spent.cost == pytest.approx(prices.cost(usage) / 2)
    assert len([e for e in read_exchanges(tmp_path / "record.jsonl") if "reply" in e]) == 5
    (use,) = read_costs(tmp_path / "record.jsonl")
    assert (use.batched, use.cost(prices)) == (usage, pytest.approx(budget.spent.cost))


@both
def test_what_goes_through_batches_is_said_by_all_around(make, tmp_path):
    with FaultServer() as server:
        backend = backend_for(server, make, capabilities=Capabilities(batched=True))
        assert not backend.capabilities.batched  # it takes batches, but sends each request by itself
        stack = {"cache": tmp_path / "a", "record": tmp_path / "b", "budget": Budget(max_requests=1)}
        wrapped = wrap_backend(backend, batches=tmp_path / "batches", **stack)
        assert wrapped.capabilities == replace(backend.capabilities, batched=True)


def test_prices_of_batches():
    assert Prices(2.0, 10.0).in_batches() == Prices(1.0, 5.0, batch_factor=1.0)
    assert Prices(2.0, 10.0, "EUR", batch_factor=1.0).in_batches().cost(Usage(10**6, 0)) == 2.0
    with pytest.raises(ValueError, match="'batch_factor' argument"):
        Prices(1, 1, batch_factor=-1)


def test_wrong_arguments(tmp_path):
    with pytest.raises(TypeError, match="'backend' argument must take batches"):
        BatchedBackend(ScriptedBackend(["a"]), tmp_path)
    with pytest.raises(ValueError, match="'poll' argument"):
        BatchedBackend(OpenAIBackend("tiny", base_url="http://127.0.0.1:1"), tmp_path, poll=-1)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json' does not hold a batch"):
        BatchedBackend(OpenAIBackend("tiny", base_url="http://127.0.0.1:1"), tmp_path).complete(REQUESTS)


@both
@pytest.mark.parametrize(
    "line", [{}, {"result": {"type": "succeeded"}}, {"result": {"type": "errored", "error": []}}]
)
@pytest.mark.parametrize("response", [None, 7, {"status_code": "x", "body": 3}])
def test_a_line_that_is_not_as_agreed_is_one_failure(make, line, response, tmp_path):
    backend = make("tiny", base_url="http://127.0.0.1:1")
    outcome = backend._outcome_or_garbled({**line, "response": response, "error": 3})
    assert outcome.kind in ("malformed", "server")


@both
def test_two_that_ask_for_the_same_hand_it_over_once(make, tmp_path):
    # The provider takes a while: the other one comes before it can be told of the batch.
    arrived, go, joined = (threading.Event() for _ in range(3))

    class Slow(make):
        def submit(self, requests, label):
            arrived.set()
            assert go.wait(60)
            return super().submit(requests, label)

    with FaultServer(batch_polls=3) as server, ThreadPoolExecutor(2) as pool:
        first = batched(server, Slow, tmp_path, sleep=lambda _: joined.wait(60))
        second = batched(server, make, tmp_path, sleep=lambda _: joined.set())
        one = pool.submit(first.complete, REQUESTS)
        assert arrived.wait(60)
        other = pool.submit(second.complete, REQUESTS[::-1])
        with pytest.raises(TimeoutError):
            other.result(timeout=0.2)
        assert not server.batches
        go.set()
        assert texts(one.result(60)) == NAMES
        assert texts(other.result(60)) == NAMES[::-1]
        assert len(server.batches) == 1
    assert not files(tmp_path)


def test_a_request_in_two_batches_is_answered_once(tmp_path):
    with FaultServer() as server:
        backend = batched(server, OpenAIBackend, tmp_path, wait=False)
        for name in ("one", "two"):
            server._desk._ready_after = 10**9
            assert kinds(batched(server, OpenAIBackend, tmp_path / name, wait=False).complete(REQUESTS[:2]))
            for file in files(tmp_path / name):
                (tmp_path / "batches").mkdir(exist_ok=True)
                file.rename(tmp_path / "batches" / file.name)
        server._desk._ready_after = 0
        assert texts(backend.complete(REQUESTS[:2])) == NAMES[:2]
        assert len(server.batches) == 2
    assert not files(tmp_path)

"""What is asked again, after which pause, and what is not."""

import copy
import pickle
import threading
import time

import pytest

from lvlm_va.backends import ChatFailure, ChatRequest, RetryingBackend, Usage
from tests.backends.inner import Inner, Streaming, ask, kinds, reply, text_of, texts

REQUESTS = [ask(str(i)) for i in range(10)]
NAMES = [str(i) for i in range(10)]


class Sleeps(list):
    """Remember pauses instead of making them."""

    def __call__(self, seconds):
        self.append(seconds)


def failing(times, kind="server", only=None, retry_after=None):
    def answer(request, before):
        if before < times and only in (None, text_of(request)):
            return ChatFailure(kind, f"failed {before}", retry_after)
        return reply(text_of(request))

    return answer


def retrying(inner, **settings):
    sleeps = Sleeps()
    return RetryingBackend(inner, **{"sleep": sleeps, "seed": 0, **settings}), sleeps


@pytest.mark.parametrize("make", [Inner, Streaming])
@pytest.mark.parametrize("kind", ["rate_limit", "server", "timeout", "connection", "malformed"])
def test_passing_failures_are_asked_again_and_nothing_else(kind, make):
    inner = make(failing(2, kind, only="3"), batch_size=4)
    backend, _ = retrying(inner)
    assert texts(backend.complete(REQUESTS)) == NAMES
    assert sorted(inner.asked) == sorted([*NAMES, "3", "3"])


def test_a_request_is_sent_so_often_and_its_last_failure_is_kept():
    inner = Inner(failing(9, only="3"))
    backend, _ = retrying(inner, attempts=4)
    outcomes = backend.complete(REQUESTS)
    assert kinds(outcomes) == ["reply"] * 3 + ["server"] + ["reply"] * 6
    assert outcomes[3].message == "failed 3"
    assert inner.asked.count("3") == 4


def test_a_bad_request_fails_alone_and_at_once():
    inner = Inner(failing(9, "bad_request", only="3"))
    backend, sleeps = retrying(inner)
    assert kinds(backend.complete(REQUESTS)).count("reply") == 9
    assert (inner.asked.count("3"), sleeps) == (1, [])


@pytest.mark.parametrize("make", [Inner, Streaming])
@pytest.mark.parametrize("kind", ["quota", "auth", "not_found", "budget"])
def test_a_fatal_failure_ends_the_call_and_keeps_what_came(kind, make):
    inner = make(failing(9, kind, only="5"), batch_size=2)
    inner.concurrency = 1
    backend, sleeps = retrying(inner)
    outcomes = backend.complete(REQUESTS)
    assert texts(outcomes)[:5] == NAMES[:5]
    assert kinds(outcomes)[5:] == [kind] * 5
    assert outcomes[9].message == "Not sent, because an earlier request failed: failed 0"
    assert (inner.asked, sleeps) == (NAMES[:6], [])


def test_what_failed_before_a_fatal_failure_keeps_its_own():
    def answer(request, before):
        return {"0": ChatFailure("server", "down"), "1": ChatFailure("quota", "spent")}.get(
            text_of(request), reply()
        )

    backend, _ = retrying(Inner(answer))
    assert kinds(backend.complete(REQUESTS[:3])) == ["server", "quota", "reply"]


def test_a_rate_limit_holds_back_the_rest_without_costing_it_an_attempt():
    # Two requests get through between any two rate limits.
    sent = []

    def answer(request, before):
        sent.append(text_of(request))
        return ChatFailure("rate_limit", "slow down", 2.0) if len(sent) % 3 == 0 else reply(text_of(request))

    backend, sleeps = retrying(Inner(answer, batch_size=1), attempts=2)
    assert texts(backend.complete(REQUESTS)) == NAMES
    assert len(sent) == 14
    assert sleeps == pytest.approx([2.0] * 4, abs=0.1)


def test_rounds_without_any_reply_end_the_call():
    inner = Inner(failing(99, "rate_limit"), batch_size=1)
    backend, sleeps = retrying(inner, attempts=3)
    outcomes = backend.complete(REQUESTS)
    assert kinds(outcomes) == ["rate_limit"] * 10
    assert (len(inner.calls), len(sleeps)) == (3, 2)
    assert outcomes[9].message.startswith("Not sent, because an earlier request failed:")


def test_the_longest_pause_that_a_server_asks_for_holds_for_all():
    def answer(request, before):
        pauses = {"1": 3.0, "2": 30.0, "3": 7.0}
        if before == 0 and text_of(request) in pauses:
            return ChatFailure("server", "later", pauses[text_of(request)])
        return reply(text_of(request))

    backend, sleeps = retrying(Inner(answer))
    assert texts(backend.complete(REQUESTS)) == NAMES
    assert sleeps == pytest.approx([30.0], abs=1)


def test_without_a_word_from_the_server_pauses_double_up_to_the_longest():
    backend, sleeps = retrying(Inner(failing(5)), attempts=6, first_wait=4.0, max_wait=20.0)
    backend.complete([ask()])
    longest = [4.0, 8.0, 16.0, 20.0, 20.0]
    assert len(sleeps) == 5
    assert all(most / 2 - 0.5 <= pause <= most for pause, most in zip(sleeps, longest, strict=True))


def test_a_server_that_wants_too_long_is_not_waited_for():
    inner = Inner(failing(9, "rate_limit", retry_after=3600.0), batch_size=1)
    backend, sleeps = retrying(inner, max_wait=60.0)
    outcomes = backend.complete(REQUESTS)
    assert kinds(outcomes) == ["rate_limit"] * 10
    assert (outcomes[0].retry_after, inner.asked, sleeps) == (3600.0, ["0"], [])


@pytest.mark.parametrize("duplicate", [lambda it: it, copy.copy, copy.deepcopy])
def test_threads_and_copies_share_one_pause(duplicate):
    """While one waits for the server, nobody else asks; both go on when the pause is over."""
    pausing, over = threading.Event(), threading.Event()

    def sleep(seconds):
        pausing.set()
        assert over.wait(60)

    inner = Inner(failing(1, "rate_limit", only="first", retry_after=30.0))
    backend = RetryingBackend(inner, sleep=sleep)
    other = duplicate(backend)
    first = threading.Thread(target=backend.complete, args=([ask("first")],))
    first.start()
    assert pausing.wait(60)
    second = threading.Thread(target=other.complete, args=([ask("second")],))
    second.start()
    time.sleep(0.05)  # time enough for it to ask, if nothing held it
    assert "second" not in other.backend.asked
    over.set()
    first.join(60)
    second.join(60)
    assert inner.asked.count("first") == 2
    assert "second" in other.backend.asked


def test_a_pause_that_grows_meanwhile_is_waited_for_to_its_end():
    sleeps = Sleeps()

    def sleep(seconds):
        sleeps(seconds)
        if len(sleeps) == 1:
            backend._gate.pause(50.0)

    backend = RetryingBackend(Inner(failing(1, retry_after=10.0)), sleep=sleep)
    backend.complete([ask()])
    assert sleeps == pytest.approx([10.0, 50.0], abs=1)


def _empty_below(tokens):
    def answer(request: ChatRequest, before):
        if request.max_tokens < tokens:
            return reply("", (10, request.max_tokens), finish="length")
        return reply("thought", (10, 20))

    return answer


def test_an_empty_reply_that_ran_out_of_tokens_is_asked_once_more_with_twice_as_many():
    inner = Inner(_empty_below(200))
    backend, sleeps = retrying(inner)
    (outcome,) = backend.complete([ask(max_tokens=100)])
    assert outcome.text == "thought"
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (20, 120)  # of both
    assert [call[0].max_tokens for call in inner.calls] == [100, 200]
    assert sleeps == []


def test_it_is_asked_no_third_time():
    inner = Inner(_empty_below(999))
    (outcome,) = retrying(inner)[0].complete([ask(max_tokens=100)])
    assert (outcome.text, outcome.finish) == ("", "length")
    assert [call[0].max_tokens for call in inner.calls] == [100, 200]


@pytest.mark.parametrize("kind", ["bad_request", "server", "budget"])
def test_if_twice_as_many_fail_the_empty_reply_stands(kind):
    def answer(request, before):
        return ChatFailure(kind, "no") if request.max_tokens > 100 else reply("", finish="length")

    (outcome,) = retrying(Inner(answer))[0].complete([ask(max_tokens=100)])
    assert (outcome.text, outcome.finish) == ("", "length")


def test_a_reply_that_broke_off_is_asked_for_again_with_more_tokens():
    inner = Inner(
        lambda request, _: reply("Step 1:" if request.max_tokens < 200 else "All.", finish="length")
    )
    (last,) = retrying(inner)[0].complete([ask(max_tokens=100)])
    assert (last.text, last.finish, last.usage) == ("All.", "length", Usage(20, 10))
    assert [call[0].max_tokens for call in inner.calls] == [100, 200]


@pytest.mark.parametrize("then", [ChatFailure("server", "down"), reply("", finish="length")])
def test_words_that_were_paid_for_are_not_given_up_for_none(then):
    inner = Inner(lambda request, _: reply("Step 1:", finish="length") if request.max_tokens < 200 else then)
    (last,) = retrying(inner)[0].complete([ask(max_tokens=100)])
    assert (last.text, last.finish) == ("Step 1:", "length")


def test_an_interruption_while_waiting_leaves_it_usable():
    def interrupt(seconds):
        raise KeyboardInterrupt

    inner = Inner(failing(1))
    backend = RetryingBackend(inner, sleep=interrupt, first_wait=0.01)
    with pytest.raises(KeyboardInterrupt):
        backend.complete(REQUESTS)
    time.sleep(0.02)  # the pause that was interrupted is over
    assert texts(backend.complete(REQUESTS)) == NAMES


def test_it_can_be_pickled():
    twin = pickle.loads(pickle.dumps(RetryingBackend(Streaming(), attempts=2)))
    assert texts(twin.complete(REQUESTS)) == NAMES


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"attempts": 0}, ValueError, "'attempts' argument must be an integer, at least 1. Got 0 instead"),
        ({"attempts": 2.0}, TypeError, "'attempts' argument must be an integer, at least 1. Got 2.0 instead"),
        ({"first_wait": -1}, ValueError, "'first_wait' argument must be .* not negative. Got -1 instead"),
        ({"max_wait": float("nan")}, ValueError, "'max_wait' argument must be .* Got nan instead"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        RetryingBackend(Inner(), **settings)

"""Replies as they come, from backends with and without a method of their own for it."""

import pytest

from lvlm_va.backends import ChatBackend, ChatFailure, RetryingBackend, complete_each
from tests.backends.inner import Inner, Streaming, ask, kinds, reply, text_of

REQUESTS = [ask(str(i)) for i in range(10)]


def failing_at(text, kind):
    return lambda request, before: ChatFailure(kind, "no") if text_of(request) == text else reply()


@pytest.mark.parametrize("make", [Inner, Streaming])
def test_every_request_has_one_outcome(make):
    outcomes = dict(complete_each(make(batch_size=4), REQUESTS))
    assert [outcomes[i].text for i in range(10)] == [str(i) for i in range(10)]


def test_pieces_of_the_batch_size_come_before_the_next_is_asked():
    inner = Inner(batch_size=4)
    stream = complete_each(inner, REQUESTS)
    for _ in range(4):
        next(stream)
    assert len(inner.calls) == 1
    list(stream)
    assert [len(call) for call in inner.calls] == [4, 4, 2]


@pytest.mark.parametrize("kind", ["quota", "auth", "not_found", "rate_limit"])
def test_after_a_failure_that_stops_the_rest_is_not_asked(kind):
    inner = Inner(failing_at("1", kind), batch_size=4)
    outcomes = dict(complete_each(inner, REQUESTS))
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert kinds(outcomes[i] for i in range(4)) == ["reply", kind, "reply", "reply"]


@pytest.mark.parametrize("kind", ["server", "timeout", "connection", "malformed", "bad_request"])
def test_other_failures_stop_nothing(kind):
    assert len(dict(complete_each(Inner(failing_at("1", kind), batch_size=4), REQUESTS))) == 10


def test_a_wrong_number_of_replies_is_named():
    inner = Inner()
    inner.complete = lambda requests: []
    with pytest.raises(ValueError, match="'inner' must return one reply or failure per request. Got 0 for 8"):
        list(complete_each(inner, REQUESTS))


@pytest.mark.parametrize(
    ("positions", "message"),
    [([0, 0], "another answer for position 0"), ([12], "position 12"), ([0], "no answer for 9 of them")],
)
def test_a_broken_stream_is_named(positions, message):
    inner = Inner()
    inner.complete_each = lambda requests: ((i, reply()) for i in positions)
    with pytest.raises(ValueError, match=message):
        list(complete_each(inner, REQUESTS))


def test_a_wrapper_passes_on_who_it_wraps():
    inner = Inner(mark="mark")
    wrapped = RetryingBackend(inner)
    assert isinstance(wrapped, ChatBackend)
    assert (wrapped.name, wrapped.fingerprint()) == ("inner", "mark")
    assert wrapped.capabilities is inner.capabilities


def test_only_backends_are_wrapped():
    with pytest.raises(TypeError, match="The 'backend' argument must be a backend.* Got str instead"):
        RetryingBackend("openai:gpt")

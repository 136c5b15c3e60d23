"""What becomes of each thing that a server may do, asked through the whole stack, while other requests go on."""

import email.utils
import time

import pytest

from lvlm_va.backends import (
    AnthropicBackend,
    Budget,
    BudgetedBackend,
    CachedBackend,
    Capabilities,
    OpenAIBackend,
    RecordingBackend,
    RetryingBackend,
    read_exchanges,
    wrap_backend,
)
from tests.backends.inner import ask, kinds, texts
from tests.serving import FAULTS, Answer, FaultServer

BACKENDS = [OpenAIBackend, AnthropicBackend]
ALL = Capabilities(temperature=True, seed=True, schema=True)
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
REQUESTS = [ask(f"item {i}", temperature=0.0, schema=SCHEMA, max_tokens=8) for i in range(8)]
NAMES = [f"item {i}" for i in range(8)]
HARMED = 5

# Fault; what becomes of the item where only its first request meets with it, and where all do; how often the
# item is asked in either case.
TABLE = [
    ("rate limit", "item 5", "rate_limit", 2, 3),
    ("rate limit with Retry-After", "item 5", "rate_limit", 2, 3),
    ("quota", "quota", "quota", 1, 1),
    ("authentication", "auth", "auth", 1, 1),
    ("not found", "not_found", "not_found", 1, 1),
    ("server error", "item 5", "server", 2, 3),
    ("no answer", "item 5", "connection", 2, 3),
    ("cut", "item 5", "connection", 2, 3),
    ("truncated JSON", "item 5", "malformed", 2, 3),
    ("empty, tokens ran out", "item 5", "", 2, 2),
    ("refusal", "I cannot help with this.", "I cannot help with this.", 1, 1),
    ("no temperature", "item 5", "item 5", 2, 2),
    ("no response_format", "item 5", "item 5", 2, 2),
    ("not UTF-8", "item 5", "malformed", 2, 3),
    ("10 MB", "item 5", "malformed", 2, 3),
    ("HTML page", "item 5", "server", 2, 3),
    ("HTML page, status 200", "item 5", "malformed", 2, 3),
]


def backend_for(server, make=OpenAIBackend, **settings):
    url = server.url if make is OpenAIBackend else server.root
    return make("tiny", base_url=url, **{"capabilities": ALL, **settings})


def stack(backend, folder, pauses):
    """Wrap as `wrap_backend` does, but note pauses instead of making them."""
    backend = BudgetedBackend(backend, Budget(max_requests=100))
    backend = RetryingBackend(backend, attempts=3, sleep=pauses.append, seed=0)
    return RecordingBackend(CachedBackend(backend, folder / "replies.sqlite"), folder / "record.jsonl")


def harming(fault, times):
    def script(asked):
        return fault if asked.text == NAMES[HARMED] and asked.before < times else Answer()

    return script


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_table_of_outcomes(row, times, make, tmp_path):
    name, *expected = row
    outcome, asked = expected[times > 1], expected[2 + (times > 1)]
    with FaultServer(harming(FAULTS[name], times)) as server:
        outcomes = stack(backend_for(server, make), tmp_path, []).complete(REQUESTS)
    assert texts(outcomes) == [*NAMES[:HARMED], outcome, *NAMES[HARMED + 1 :]]
    assert [request.text for request in server.asked].count(NAMES[HARMED]) == asked
    assert len(server.asked) == 7 + asked
    assert len(read_exchanges(tmp_path / "record.jsonl")) == 8


def test_a_refusal_is_a_reply_and_is_marked_as_one():
    for make in BACKENDS:
        with FaultServer([FAULTS["refusal"]]) as server:
            (reply,) = backend_for(server, make).complete([ask()])
        assert (reply.text, reply.finish) == ("I cannot help with this.", "refusal")


def test_verdicts_come_as_they_were_given(tmp_path):
    """Wrong ids and contradictions are the parser's business; nothing is asked again for them."""
    said = ["Segment 99: spurious", "Segment 1: spurious\nSegment 1: relevant", '{"segments": [{"id": 7}]}']
    with FaultServer([Answer(text) for text in said]) as server:
        backend = stack(backend_for(server, concurrency=1), tmp_path, [])
        assert texts(backend.complete(REQUESTS[:3])) == said
    assert len(server.asked) == 3


def test_a_server_too_slow_is_given_up_and_asked_again():
    for times, attempts, expected in ((1, 5, "item 5"), (9, 2, "timeout")):
        with FaultServer(harming(FAULTS["slow"], times)) as server:
            inner = backend_for(server, timeout=1.0)
            backend = RetryingBackend(inner, attempts=attempts, sleep=lambda _: None)
            assert texts(backend.complete(REQUESTS))[HARMED] == expected


def test_a_reply_that_trickles_in_is_given_up_too():
    """Each byte comes in time, the whole does not."""
    with FaultServer([Answer("x" * 100, pace=0.02)]) as server:
        (outcome,) = backend_for(server, timeout=0.5).complete([ask()])
    assert (outcome.kind, outcome.message) == ("timeout", "No full reply came within 0.5 s.")


def test_another_name_of_max_tokens_is_learned_once():
    with FaultServer(lambda asked: FAULTS["no max_tokens"]) as server:
        backend = backend_for(server, concurrency=1)
        assert texts(backend.complete(REQUESTS[:3])) == NAMES[:3]
        assert [body.get("max_tokens") for body in bodies(server)] == [8, None, None, None]
        assert [body.get("max_completion_tokens") for body in bodies(server)] == [None, 8, 8, 8]
        # Anthropic's has no other name.
        assert kinds(backend_for(server, AnthropicBackend).complete(REQUESTS[:1])) == ["bad_request"]


def test_what_a_server_refuses_is_no_capability_any_more_and_stays_away(caplog):
    refusing = Answer(unsupported=("temperature", "seed", "response_format"))
    with FaultServer(lambda asked: refusing) as server:
        backend = backend_for(server, concurrency=1)
        request = ask("item 0", temperature=0.0, seed=3, schema=SCHEMA)
        mark = backend.fingerprint()
        assert texts(backend.complete([request, request])) == ["item 0"] * 2
        assert len(server.asked) == 5
        assert not {"temperature", "seed", "response_format"} & set(bodies(server)[-1])
    assert backend.capabilities == Capabilities(batch_size=1)
    assert backend.fingerprint() == mark
    assert [record.getMessage().partition(" does ")[2] for record in caplog.records] == [
        f"not take {name!r}; it is left out from now on." for name in refusing.unsupported
    ]


def test_eight_at_once_learn_it_together():
    with FaultServer(lambda asked: FAULTS["no temperature"]) as server:
        assert texts(backend_for(server).complete(REQUESTS)) == NAMES
        assert len(server.asked) <= 16


@pytest.mark.parametrize(
    "message",
    [
        "temperature: must be at most 1, got 2",
        "max_tokens is too large: 8",
        "This model's maximum context length is 4096 tokens.",
        "Unsupported image format.",
    ],
)
def test_other_complaints_leave_the_parameters_alone(message):
    with FaultServer([Answer(message, status=400)]) as server:
        backend = backend_for(server)
        (outcome,) = backend.complete(REQUESTS[:1])
    assert (outcome.kind, outcome.message) == ("bad_request", f"HTTP 400: {message}")
    assert (len(server.asked), backend.capabilities.temperature) == (1, True)


def test_a_pause_that_the_server_asks_for_is_made():
    with FaultServer([FAULTS["rate limit with Retry-After"]]) as server:
        start = time.monotonic()
        assert texts(wrap_backend(backend_for(server)).complete(REQUESTS[:1])) == ["item 0"]
        assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, seconds):
    with FaultServer([Answer("Slow down.", status=429, headers=headers)]) as server:
        (outcome,) = backend_for(server).complete(REQUESTS[:1])
    assert outcome.retry_after == seconds


def test_a_date_to_wait_for():
    at = int(time.time()) + 3000
    headers = {"Retry-After": email.utils.formatdate(at, usegmt=True)}
    with FaultServer([Answer("Slow down.", status=429, headers=headers)]) as server:
        before = time.time()
        (outcome,) = backend_for(server).complete(REQUESTS[:1])
    assert at - time.time() <= outcome.retry_after <= at - before


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "", "Your credit balance is too low to access the API.", "quota"),
        (429, "", "You exceeded your current quota of requests a minute.", "rate_limit"),
        (402, "billing_error", "Pay first.", "quota"),
        (403, "", "Not in your country.", "auth"),
        (408, "", "Too late.", "timeout"),
        (409, "", "Conflict.", "server"),
        (413, "", "Too large.", "bad_request"),
        (422, "", "Not so.", "bad_request"),
        (503, "", "Loading model.", "server"),
        (504, "", "Gateway timeout.", "timeout"),
        (529, "overloaded_error", "Overloaded.", "server"),
    ],
)
def test_other_statuses(status, code, message, kind):
    for make in BACKENDS:
        with FaultServer([Answer(message, status=status, code=code)]) as server:
            (outcome,) = backend_for(server, make).complete(REQUESTS[:1])
        assert (outcome.kind, outcome.message) == (kind, f"HTTP {status}: {message}")


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": [], "content": 3}',
        b'{"choices": "abc", "content": {}}',
        b'{"choices": [{"message": "text"}], "content": 7}',
        b'{"choices": [{"message": {"content": 5}}], "content": [1, "a"]}',
        b'{"error": {"message": "upstream failed", "code": 502}}',
        b"[" * 100_000,
        b'{"choices": [' + b"1" * 5000 + b"]}",
    ],
)
def test_replies_of_another_shape_are_garbled(body, make):
    with FaultServer([Answer(body=body)]) as server:
        assert kinds(backend_for(server, make).complete([ask()])) == ["malformed"]


def test_no_server():
    with FaultServer() as server:
        backend = backend_for(server)
    assert kinds(backend.complete(REQUESTS)) == ["connection"] * 8


def bodies(server):
    return [asked.body for asked in server.asked]

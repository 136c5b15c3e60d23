"""Why a reply ends: whole, broken off, refused, or an error in its place."""

import json

import pytest

from lvlm_va.backends import AnthropicBackend, CachedBackend, ChatFailure, OpenAIBackend, RetryingBackend
from tests.backends.inner import Inner, ask, kinds, reply, texts
from tests.serving import Answer, FaultServer

MAKERS = [OpenAIBackend, AnthropicBackend]


def said(reason, text="Segment 1: spurious", **message):
    parts = [{"type": "text", "text": text}]
    content = {"content": text} if text is not None else {}
    choice = {"message": {**content, **message}, "finish_reason": reason}
    return Answer(body=json.dumps({"choices": [choice], "content": parts, "stop_reason": reason}).encode())


def backend_for(server, make=OpenAIBackend, **settings):
    return make("tiny", base_url=server.url if make is OpenAIBackend else server.root, **settings)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("stop", "stop"), ("STOP", "stop"), ("end_turn", "stop"), (None, "stop"), ("", "stop"), ("eos", "stop"),
        ("length", "length"), ("max_tokens", "length"), ("MAX_TOKENS", "length"), ("model_length", "length"),
        ("content_filter", "refusal"), ("SAFETY", "refusal"),
        ("error", "malformed"), ("abort", "malformed"), ("no such reason", "malformed"), (7, "malformed"),
    ],
)  # fmt: skip
def test_reasons(reason, found, make):
    with FaultServer([said(reason)]) as server:
        (outcome,) = backend_for(server, make).complete([ask()])
    assert found == (outcome.kind if isinstance(outcome, ChatFailure) else outcome.finish)


@pytest.mark.parametrize("reason", ["error", "max_tokens"])
def test_what_broke_off_is_asked_for_again_and_not_kept(reason, tmp_path):
    with FaultServer([said(reason), said(reason), Answer("All of it.")]) as server:
        inner = RetryingBackend(backend_for(server), attempts=2, first_wait=0)
        backend = CachedBackend(inner, tmp_path / "replies.sqlite")
        first = backend.complete([ask(max_tokens=50)])
        assert backend.info().replies == 0
        assert (kinds(first), len(server.asked)) == (["malformed" if reason == "error" else "reply"], 2)
        assert texts(backend.complete([ask(max_tokens=50)])) == ["All of it."]
        assert backend.info().replies == 1
    sent = [asked.body["max_tokens"] for asked in server.asked]
    assert sent == ([50, 50, 50] if reason == "error" else [50, 100, 50])


def test_a_reply_without_content_is_an_empty_one():
    """All its tokens went on reasoning, which some servers give apart: worth twice as many."""
    with FaultServer([said("length", None, reasoning="Hm."), Answer("Yes.")]) as server:
        assert texts(RetryingBackend(backend_for(server)).complete([ask(max_tokens=50)])) == ["Yes."]
        assert [asked.body["max_tokens"] for asked in server.asked] == [50, 100]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("Unexpected endpoint.", "bad_request", "Unexpected endpoint."),
        ({"message": "No image input.", "code": 404}, "not_found", "No image input."),
        ({"message": "Slow down.", "code": 429}, "rate_limit", "Slow down."),
        ({"message": "Pay.", "code": "insufficient_quota"}, "quota", "Pay."),
        ({"message": "Upstream failed.", "code": 502}, "malformed", "Upstream failed."),
    ],
)
def test_an_error_in_the_place_of_a_reply_is_told(error, kind, words, make):
    with FaultServer([Answer(body=json.dumps({"error": error}).encode())]) as server:
        (outcome,) = backend_for(server, make).complete([ask()])
    assert (outcome.kind, outcome.message) == (kind, f"An error in the place of a reply: {words}")


@pytest.mark.parametrize(
    "words",
    [
        "`temperature` must be strictly positive",
        "temperature: Input should be greater than 0",
        "temperature must be > 0.0",
    ],
)
def test_a_server_that_takes_no_temperature_of_zero_gets_a_little(words):
    def script(asked):
        return Answer(words, status=422) if asked.body.get("temperature") == 0 else Answer()

    with FaultServer(script) as server:
        backend = backend_for(server, concurrency=1)
        requests = [ask("a", temperature=0.0), ask("b", temperature=0.0), ask("c", temperature=0.7)]
        assert texts(backend.complete(requests)) == ["a", "b", "c"]
    assert [asked.body["temperature"] for asked in server.asked] == [0, 0.01, 0.01, 0.7]
    assert backend.capabilities.temperature


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("count", ["1" + "0" * 400, "-5", "true", '"7"', "1e9"])
def test_counts_that_no_reply_takes_were_not_counted(count, make):
    body = f'"prompt_tokens":{count},"input_tokens":{count},"output_tokens":3,"completion_tokens":3'
    whole = said("stop").body.decode()[:-1] + ',"usage":{' + body + "}}"
    with FaultServer([Answer(body=whole.encode())]) as server:
        (outcome,) = backend_for(server, make).complete([ask()])
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (0, 3)


def test_the_last_of_several_broken_replies_is_marked():
    backend = RetryingBackend(Inner(lambda *_: reply("Step 1:", finish="length")))
    (last,) = backend.complete([ask()])
    assert (last.broke_off, last.cut_short) == (True, False)

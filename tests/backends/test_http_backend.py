"""What is sent to servers, how many at once, in which order, and what is said about wrong settings."""

import importlib
import subprocess
import sys
import threading

import numpy as np
import pytest

from lvlm_va.backends import (
    AnthropicBackend,
    Capabilities,
    ChatBackend,
    ChatRequest,
    ImagePart,
    OpenAIBackend,
    Turn,
    complete_each,
)
from tests.backends.inner import ask, kinds, texts
from tests.serving import FAULTS, Answer, FaultServer

IMAGE = ImagePart(np.zeros((2, 3, 3), np.uint8))
TALK = (
    Turn("system", ("Be brief.",)),
    Turn("user", ("What is", IMAGE, "this?")),
    Turn("assistant", ("A cat.",)),
    Turn("user", ("Sure?",)),
)
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}}
MAKERS = [OpenAIBackend, AnthropicBackend]


def backend_for(server, make=OpenAIBackend, **settings):
    return make("tiny", base_url=server.url if make is OpenAIBackend else server.root, **settings)


def sent(make, request, **settings):
    with FaultServer() as server:
        assert kinds(backend_for(server, make, **settings).complete([request])) == ["reply"]
    return server.asked[0].body


def test_what_goes_to_chat_completions():
    body = sent(
        OpenAIBackend, ChatRequest(TALK, 7, temperature=0.5, seed=3, schema=SCHEMA, choices=("a", "b"))
    )
    url = body["messages"][1]["content"][1]["image_url"].pop("url")
    assert url.startswith("data:image/png;base64,iVBOR")
    assert body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is"},
                    {"type": "image_url", "image_url": {}},
                    {"type": "text", "text": "this?"},
                ],
            },
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": "Sure?"},
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA},
        },
    }


def test_what_goes_to_messages():
    body = sent(AnthropicBackend, ChatRequest(TALK, 7, temperature=0.5, seed=3, schema=SCHEMA))
    assert body["messages"][0]["content"][1]["source"].pop("data").startswith("iVBOR")
    assert body == {
        "model": "tiny",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png"}},
                    {"type": "text", "text": "this?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
        ],
        "max_tokens": 7,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_not_declared_or_not_asked_for_is_not_sent(make):
    full = ChatRequest(TALK, 7, temperature=0.5, seed=3, schema=SCHEMA, choices=("a", "b"))
    plain = {"model", "messages", "max_tokens"} | ({"system"} if make is AnthropicBackend else set())
    assert set(sent(make, full, capabilities=Capabilities())) == plain
    every = Capabilities(temperature=True, seed=True, schema=True, choices=True)
    assert set(sent(make, ChatRequest(TALK), capabilities=every)) == plain


def test_choices_as_vllm_takes_them():
    able = Capabilities(choices=True, choice_probs=True)
    body = sent(OpenAIBackend, ask(choices=("a", "b"), want_choice_probs=True), capabilities=able)
    assert body["structured_outputs"] == {"choice": ["a", "b"]}
    assert "logprobs" not in body


def test_text_that_utf8_cannot_hold_is_sent_and_read_with_marks_for_it():
    for make in MAKERS:
        with FaultServer() as server:
            assert texts(backend_for(server, make).complete([ask("a\ud800b")])) == ["a?b"]
        with FaultServer([Answer("c\udfffd")]) as server:
            assert texts(backend_for(server, make).complete([ask("a")])) == ["c?d"]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("<think>Is it?</think>\n\nYes.", "Yes."),
        (" <think>\nnever closed", ""),
        ("Yes. <think>No.</think>", "Yes. <think>No.</think>"),
    ],
)
def test_reasoning_before_an_answer_is_no_part_of_it(said, text):
    with FaultServer([Answer(said, finish="length")]) as server:
        (reply,) = backend_for(server).complete([ask()])
    assert (reply.text, reply.cut_short) == (text, not text)


@pytest.mark.parametrize("make", MAKERS)
def test_what_a_reply_tells(make):
    with FaultServer([Answer("fourteen chars")]) as server:
        (reply,) = backend_for(server, make).complete([ask("eight...")])
    assert (reply.text, reply.model, reply.finish) == ("fourteen chars", "tiny", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 4)
    assert reply.reply_id.endswith("_0" if make is AnthropicBackend else "-0")


def test_anthropics_other_blocks_are_left_out_and_cached_tokens_counted():
    body = (
        b'{"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"},'
        b' {"type": "text", "text": "b"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1,'
        b' "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 5}}'
    )
    with FaultServer([Answer(body=body)]) as server:
        (reply,) = backend_for(server, AnthropicBackend).complete([ask()])
    assert (reply.text, reply.usage.input_tokens, reply.usage.output_tokens) == ("ab", 321, 5)


def test_more_images_than_the_model_takes_are_not_sent():
    with FaultServer() as server:
        backend = backend_for(server, capabilities=Capabilities(max_images=0))
        outcomes = backend.complete([ask("a"), ask("b", IMAGE.array)])
        assert kinds(outcomes) == ["reply", "bad_request"]
        assert outcomes[1].message == "The model takes at most 0 images. Got 1 instead."
        assert len(server.asked) == 1


@pytest.mark.parametrize("make", MAKERS)
def test_order_is_kept_whatever_comes_first(make):
    names = [str(i) for i in range(40)]
    with FaultServer(lambda asked: Answer(delay=0.01 * (int(asked.text) % 3))) as server:
        backend = backend_for(server, make, concurrency=5)
        assert texts(backend.complete([ask(name) for name in names])) == names
        assert 2 <= server.peak <= 5
    assert backend.complete([]) == []


def test_the_next_request_starts_when_a_reply_was_taken():
    with FaultServer() as server:
        answers = complete_each(backend_for(server, concurrency=2), [ask(str(i)) for i in range(10)])
        for taken in range(1, 5):
            next(answers)
            assert len(server.asked) <= taken + 1
        answers.close()
    assert len(server.asked) <= 5


def test_closing_does_not_wait_for_those_under_way():
    with FaultServer(lambda asked: Answer(delay=0 if asked.text == "0" else 1000)) as server:
        answers = backend_for(server, concurrency=3).complete_each([ask(str(i)) for i in range(9)])
        assert next(answers)[0] == 0
        answers.close()
        assert len(server.asked) <= 3


def test_after_a_failure_that_stops_those_under_way_are_yielded_and_no_other_sent():
    both = threading.Barrier(2)

    def script(asked):
        both.wait(60)
        return FAULTS["quota"] if asked.text == "0" else Answer(delay=0.2)

    with FaultServer(script) as server:
        backend = backend_for(server, concurrency=2)
        answers = dict(complete_each(backend, [ask(str(i)) for i in range(9)]))
        assert len(server.asked) == 2
    assert kinds([answers[0], answers[1]]) == ["quota", "reply"]
    assert set(answers) == {0, 1}


def test_an_error_in_the_program_is_raised_not_swallowed():
    with FaultServer() as server, pytest.raises(TypeError, match="'schema' of a request must hold JSON"):
        backend_for(server).complete([ask(schema={"a": object()})])


@pytest.mark.parametrize("make", MAKERS)
def test_it_is_a_backend_and_signs_with_address_and_model(make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-0123456789")
    local = make("tiny", base_url="http://127.0.0.1:8000/v1/", concurrency=3)
    assert isinstance(local, ChatBackend)
    assert (local.name, local.model) == ("http://127.0.0.1:8000/v1#tiny", "tiny")
    assert local.capabilities.batch_size == 3
    assert repr(local) == f"{make.__name__}('tiny', base_url='http://127.0.0.1:8000/v1')"
    hosted = make("large", allow_remote=True)
    assert hosted.name == f"{make.__name__.removesuffix('Backend').lower()}:large"


def test_fingerprints_differ_wherever_replies_may():
    makers = [
        lambda: OpenAIBackend("tiny", base_url="http://127.0.0.1:8000/v1"),
        lambda: OpenAIBackend("tiny", base_url="http://127.0.0.1:8001/v1"),
        lambda: OpenAIBackend("small", base_url="http://127.0.0.1:8000/v1"),
        lambda: OpenAIBackend("tiny", base_url="http://127.0.0.1:8000/v1", capabilities=Capabilities()),
        lambda: AnthropicBackend("tiny", base_url="http://127.0.0.1:8000/v1"),
    ]
    assert len({make().fingerprint() for make in makers}) == 5
    same = OpenAIBackend("tiny", base_url="http://127.0.0.1:8000/v1/", concurrency=2, timeout=5)
    assert same.fingerprint() == makers[0]().fingerprint()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model": ""}, TypeError, "'model' argument must be the name of a model. Got '' instead"),
        ({"model": 3}, TypeError, "'model' argument must be the name of a model. Got 3 instead"),
        ({"base_url": 3}, TypeError, "'base_url' argument must be a string or None. Got int instead"),
        ({"concurrency": 0}, ValueError, "'concurrency' argument must be an integer, at least 1. Got 0"),
        ({"concurrency": 2.0}, ValueError, "'concurrency' argument must be an integer, at least 1. Got 2.0"),
        ({"timeout": 0}, ValueError, "'timeout' argument must be a number of seconds above 0. Got 0"),
        ({"timeout": float("nan")}, ValueError, "'timeout' argument must be a number of seconds above 0"),
        (
            {"capabilities": {}},
            TypeError,
            "'capabilities' argument must be a Capabilities object or None. Got dict",
        ),
    ],
)
def test_wrong_settings(settings, error, message):
    with pytest.raises(error, match=message):
        OpenAIBackend(**{"model": "tiny", "base_url": "http://127.0.0.1:1/v1", **settings})


@pytest.mark.parametrize("make", MAKERS)
def test_a_missing_package_is_named_with_its_extra(make, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    name = make.__name__.removesuffix("Backend").lower()
    with pytest.raises(ImportError, match=rf"needs the package '{name}': pip install 'lvlm-va\[{name}\]'"):
        make("tiny", base_url="http://127.0.0.1:1/v1")


def test_neither_package_is_needed_before_a_backend_is_made():
    code = (
        "import sys, lvlm_va.backends, lvlm_va.testing\n"
        "assert not {'openai', 'anthropic', 'httpx', 'httpx2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

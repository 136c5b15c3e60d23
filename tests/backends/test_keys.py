"""A key shows up nowhere but at the server it is for."""

import copy
import logging
import pickle

import pytest

from lvlm_va.backends import AnthropicBackend, Budget, OpenAIBackend, wrap_backend
from tests.backends.inner import ask, kinds, texts
from tests.serving import Answer, FaultServer

KEY = "sk-canary-0123456789abcdefghij"
MAKERS = [OpenAIBackend, AnthropicBackend]


def address(server, make):
    return server.url if make is OpenAIBackend else server.root


def key_in(headers):
    return headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-api-key")


def echoing(asked):
    """A server that says the key in replies, errors and garbage."""
    said = f"Your key is {key_in(asked.headers)}"
    if asked.text == "fail":
        return Answer(said, status=400, code=KEY)
    if asked.text == "garble":
        return Answer(body=said.encode())
    return Answer(said)


@pytest.mark.parametrize("make", MAKERS)
def test_the_key_is_in_nothing_that_is_shown_or_kept(make, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with FaultServer(echoing) as server:
        inner = make(KEY[:4], base_url=address(server, make), api_key=KEY)
        backend = wrap_backend(
            inner,
            cache=tmp_path / "replies.sqlite",
            budget=Budget(max_requests=9),
            record=tmp_path / "record.jsonl",
            attempts=1,
        )
        outcomes = backend.complete([ask("hello"), ask("fail"), ask("garble")])
        assert [key_in(asked.headers) for asked in server.asked] == [KEY] * 3
    assert kinds(outcomes) == ["reply", "bad_request", "malformed"]
    assert outcomes[0].text == "Your key is [key]"
    shown = [repr(backend), str(inner), inner.name, inner.fingerprint(), repr(outcomes), caplog.text]
    shown += [repr(vars(inner)), repr(pickle.dumps(inner)), repr(pickle.dumps(backend))]
    shown += [repr(record.args) for record in caplog.records]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert caplog.records
    assert not [text for text in shown if KEY in text]
    assert not [content for content in files if KEY.encode() in content]


@pytest.mark.parametrize("length", range(250, 300, 3))
def test_no_part_of_the_key_is_left_where_a_message_is_cut(length):
    said = "x" * length + KEY + "x" * 300
    with FaultServer([Answer(said, status=400), Answer(body=said.encode())]) as server:
        backend = OpenAIBackend("tiny", base_url=server.url, api_key=KEY, concurrency=1)
        outcomes = backend.complete([ask("a"), ask("b")])
    assert kinds(outcomes) == ["bad_request", "malformed"]
    assert not [outcome for outcome in outcomes if "sk-c" in outcome.message or len(outcome.message) > 310]


@pytest.mark.parametrize("make", MAKERS)
def test_a_pickled_backend_says_that_it_has_lost_its_key(make):
    with FaultServer() as server:
        backend = make("tiny", base_url=address(server, make), api_key=KEY)
        pickled = pickle.loads(pickle.dumps(backend))
        outcomes = pickled.complete([ask("a"), ask("b")])
        assert kinds(outcomes) == ["auth", "auth"]
        assert "left behind when this backend was pickled" in outcomes[0].message
        assert kinds(pickle.loads(pickle.dumps(pickled)).complete([ask("a")])) == ["auth"]
        assert server.asked == []
        assert pickled.fingerprint() == backend.fingerprint()


def test_a_backend_without_a_key_is_pickled_whole():
    with FaultServer() as server:
        backend = OpenAIBackend("tiny", base_url=server.url)
        assert texts(pickle.loads(pickle.dumps(backend)).complete([ask("a")])) == ["a"]


def test_a_copy_in_this_process_keeps_the_key():
    with FaultServer() as server:
        backend = copy.deepcopy(OpenAIBackend("tiny", base_url=server.url, api_key=KEY))
        backend.complete([ask("a")])
        assert key_in(server.asked[0].headers) == KEY


@pytest.mark.parametrize(
    ("make", "name"), [(OpenAIBackend, "OPENAI_API_KEY"), (AnthropicBackend, "ANTHROPIC_API_KEY")]
)
def test_the_key_from_the_environment(make, name, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f"'api_key' argument must be given, or .*{name} must be set"):
        make("large", allow_remote=True)
    monkeypatch.setenv(name, KEY)
    backend = make("large", allow_remote=True)
    assert KEY not in repr(vars(backend)) + repr(backend)
    assert KEY.encode() not in pickle.dumps(backend)
    assert pickle.loads(pickle.dumps(backend))._secret.reveal() == KEY


@pytest.mark.parametrize("key", [KEY + "\n", "", "sk with spaces", "sk-ä0123456789"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key):
    with pytest.raises(ValueError, match="'api_key' argument must consist of printable ASCII") as caught:
        OpenAIBackend("tiny", base_url="http://127.0.0.1:1/v1", api_key=key)
    assert not key or key.strip() not in str(caught.value)


def test_a_key_of_another_type_is_refused_and_not_repeated():
    with pytest.raises(TypeError, match="'api_key' argument must be a string or None. Got bytes instead"):
        OpenAIBackend("tiny", base_url="http://127.0.0.1:1/v1", api_key=KEY.encode())


def test_short_placeholders_are_no_secrets():
    """Replies are not mutilated by what Ollama's and others' examples give as a key."""
    with FaultServer() as server:
        backend = OpenAIBackend("tiny", base_url=server.url, api_key="ollama")
        assert texts(backend.complete([ask("ollama is a word")])) == ["ollama is a word"]

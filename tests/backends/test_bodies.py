"""Bodies of every status: one deadline for all of an exchange, and no more memory than a reply may take."""

import contextlib
import gzip
import json
import socket
import threading
import tracemalloc
import zlib

import pytest

from lvlm_va.backends import AnthropicBackend, OpenAIBackend
from tests.backends.inner import ask, kinds, texts
from tests.serving import Answer, FaultServer

MAKERS = [OpenAIBackend, AnthropicBackend]
SAID = json.dumps(
    {"choices": [{"message": {"content": "fine"}}], "content": [{"type": "text", "text": "fine"}]}
).encode()
BOMB = gzip.compress(b" " * 2**26)
FORMS = {
    "gzip": gzip.compress(SAID),
    "X-GZIP": gzip.compress(SAID),
    "deflate": zlib.compress(SAID),
    "identity": SAID,
}


def outcome(answer, make=OpenAIBackend):
    with FaultServer([answer]) as server:
        url = server.url if make is OpenAIBackend else server.root
        return make("tiny", base_url=url).complete([ask()])[0]


def packed(body, name="gzip", **more):
    return Answer(body=body, headers={"Content-Encoding": name}, **more)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", FORMS)
def test_compressed_replies_are_read(name, make):
    assert texts([outcome(packed(FORMS[name], name), make)]) == ["fine"]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("status", "kind"), [(200, "malformed"), (500, "server"), (401, "auth")])
def test_a_few_bytes_cannot_fill_the_memory(make, status, kind):
    tracemalloc.start()
    try:
        assert kinds([outcome(packed(BOMB, status=status), make)]) == [kind]
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "body"), [("br", b"\x0b"), ("gzip, gzip", SAID), ("gzip", SAID), ("gzip", b"")]
)
def test_what_cannot_be_unpacked_is_garbled_but_a_status_still_counts(name, body):
    assert kinds([outcome(packed(body, name)), outcome(packed(body, name, status=429))]) == [
        "malformed", "rate_limit",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"<" * 2**20, b'{"error": "' + b"temperature " * 2**16 + b'"}'])
def test_long_errors_are_understood_in_no_time(body):
    assert outcome(Answer(body=body, status=422)).kind == "bad_request"


def test_a_codec_that_is_none_of_text_is_not_believed():
    answer = Answer(status=503, body="büsy".encode(), headers={"Content-Type": "text/html; charset=zlib"})
    assert outcome(answer).message == "HTTP 503: büsy"


STARTS = {
    "headers": b"HTTP/1.1 200 OK\r\nX-A: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "error body": b"HTTP/1.1 500 X\r\nContent-Length: 1000\r\n\r\n",
    "compressed body": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n\x1f\x8b\x08",
}


@pytest.mark.parametrize("start", STARTS)
def test_whatever_drips_is_given_up(start):
    """Each byte comes in time, and in the end the connection is cut: only a limit to the whole says timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        enough = threading.Event()

        def drip():
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                client.sendall(STARTS[start])
                for _ in range(100):
                    client.sendall(b"\0" if start == "compressed body" else b"a")
                    if enough.wait(0.03):
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        backend = OpenAIBackend(
            "tiny", base_url=f"http://127.0.0.1:{server.getsockname()[1]}/v1", timeout=0.3
        )
        (came,) = backend.complete([ask()])
        enough.set()
        thread.join()
    assert (came.kind, came.message) == ("timeout", "No full reply came within 0.3 s.")


def test_what_a_server_says_is_shown_without_what_a_terminal_would_obey():
    assert outcome(Answer("\x1b]0;mine\x07 gone\u202e", status=400)).message == (
        r"HTTP 400: \x1b]0;mine\x07 gone\u202e"
    )

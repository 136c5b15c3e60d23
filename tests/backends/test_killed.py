"""A run killed in the middle and begun again: no reply that had come is asked for twice."""

import json
import multiprocessing
import sqlite3
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lvlm_va.backends import wrap_backend
from tests.backends.inner import Streaming, ask, reply, text_of, texts

REQUESTS = [ask(f"critique {i}") for i in range(500)]
NAMES = [f"critique {i}" for i in range(500)]


class Server(ThreadingHTTPServer):
    """Echo what it is sent, and count what it sends out; hold all requests when so many are answered."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hold_after, delay=0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.left, self.delay, self.held, self.sent = hold_after, delay, 0, Counter()
        self.dropped = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with self.server.lock:
            hold = self.server.left <= 0
            self.server.left -= 1
            self.server.held += hold
        if hold:
            self.server.dropped.wait(60)
            return  # unanswered: whoever asked is gone
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.sent[text] += 1
        body = json.dumps(text).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Remote(Streaming):
    """Ask the server above, eight requests at a time."""

    def __init__(self, url):
        super().__init__(self.post, mark="remote")
        self.url = url

    def post(self, request, before):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url, text_of(request).encode(), timeout=60) as response:
            return reply(json.loads(response.read()))


def run(url, path):
    return texts(wrap_backend(Remote(url), cache=path).complete(REQUESTS))


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(path):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute("select count(*) from replies").fetchone()[0]
    except sqlite3.OperationalError:  # not there yet
        return 0
    finally:
        connection.close()


@pytest.fixture
def serve():
    servers = []

    def start(**settings):
        servers.append(Server(**settings))
        return servers[-1]

    yield start
    for server in servers:
        server.dropped.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replies.sqlite"


def start_run(server, path):
    process = multiprocessing.get_context("spawn").Process(target=run, args=(server.url, path))
    process.start()
    return process


def test_no_reply_that_had_come_is_asked_for_twice(serve, path):
    """Killed while eight requests are unanswered, and every answered one therefore was read."""
    server = serve(hold_after=200)
    process = start_run(server, path)
    wait_until(lambda: server.held == 8)
    wait_until(lambda: path.exists() and written(path) == 200)
    process.kill()
    process.join()
    server.dropped.set()
    server.left = 10_000
    assert run(server.url, path) == NAMES
    assert server.sent == Counter(NAMES)


def test_killed_at_any_moment_no_more_is_repeated_than_was_under_way(serve, path):
    server = serve(hold_after=10_000, delay=0.005)
    process = start_run(server, path)
    wait_until(lambda: server.sent.total() >= 150)
    process.kill()
    process.join()
    assert server.sent.total() < 500
    assert run(server.url, path) == NAMES
    assert set(server.sent) == set(NAMES)
    assert server.sent.total() <= 500 + Remote.concurrency

"""A chat server on this machine that does as it is told, and counts what it is asked."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.serving.answers import Answer, Asked, Language
from tests.serving.batch_desk import Batch, BatchDesk, BatchScript

Script = Callable[[Asked], Answer]
_PATHS: dict[str, Language] = {"/chat/completions": "openai", "/messages": "anthropic"}


class FaultServer:
    """Answer chat requests on a loopback port by a script, as a context manager.

    It speaks OpenAI's chat completions and Anthropic's messages, and the batch interfaces of both. Every request in
    a batch goes through the script too: an answer with a status from 400 on is an entry that failed, one with the
    code ``"expired"`` an entry that expired, one with a `body` that line of the results, and one with `cut_after` a
    line that is lost.

    Parameters
    ----------
    script : callable or sequence of Answer, default=()
        A function from :class:`Asked` to :class:`Answer`, called in many threads, which may block. Or the
        answers to the first requests in the order in which they come; all others get ``Answer()``.
    batch_script : callable or None, default=None
        A function from the name of a call (``"upload"``, ``"validate"``, ``"submit"``, ``"list"``, ``"poll"``,
        ``"results"``) and how many such came before to an :class:`Answer`. A status from 400 on refuses the call;
        otherwise it is done, and `delay`, `pace` and `cut_after` say how the answer is sent.
    batch_polls : int, default=1
        With which look a batch is finished.
    batch_page : int, default=100
        Batches on a page of the list.

    Attributes
    ----------
    url : str
        Address for a backend's `base_url`, of OpenAI's kind: it ends in ``/v1``.
    root : str
        The same without ``/v1``, as Anthropic's SDK takes it.
    asked : list of Asked
        All requests so far.
    answered : collections.Counter
        How often each text was answered in full with a status below 400: what a provider would bill.
    batches : list of Batch
        All batches that were accepted.
    peak : int
        Most requests that were waiting for their answer at once.

    Raises
    ------
    Exception
        At the end of the ``with`` block: the first that the script has raised. The request got status 500.

    Examples
    --------
    >>> from lvlm_va.backends import ChatRequest, OpenAIBackend, Turn, wrap_backend
    >>> from tests.serving import FAULTS, FaultServer
    >>> with FaultServer([FAULTS["authentication"]]) as server:
    ...     backend = OpenAIBackend("any", base_url=server.url)
    ...     backend.complete([ChatRequest((Turn("user", ("Hello",)),))])
    [ChatFailure(kind='auth', message='HTTP 401: Incorrect API key.', retry_after=None)]
    """

    def __init__(
        self,
        script: Script | Sequence[Answer] = (),
        *,
        batch_script: BatchScript | None = None,
        batch_polls: int = 1,
        batch_page: int = 100,
    ) -> None:
        self._script = script if callable(script) else _in_turn(tuple(script))
        self.asked: list[Asked] = []
        self.answered: Counter[str] = Counter()
        self.peak = 0
        self._under_way = 0
        self._texts: Counter[str] = Counter()
        self._errors: list[Exception] = []
        self._lock = threading.Lock()
        self._desk = BatchDesk(self._answer_entry, batch_script, batch_polls, batch_page)
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fault_server": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def root(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """Address of the server, with ``/v1``."""
        return f"{self.root}/v1"

    @property
    def batches(self) -> list[Batch]:
        """All batches that were accepted."""
        return self._desk.batches

    def __enter__(self) -> FaultServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if error is None and self._errors:
            raise self._errors[0]

    def _receive(self, language: Language, headers: dict[str, str], content: bytes) -> Asked:
        return self._note(language, headers, json.loads(content))

    def _answer_entry(self, language: Language, body: dict[str, Any]) -> tuple[Answer, int, bytes]:
        asked = self._note(language, {}, body)
        answer = self._answer(asked)
        status, content = answer.to(asked)
        self._done(asked, status < 400 and answer.cut_after is None)
        return answer, status, content

    def _note(self, language: Language, headers: dict[str, str], body: dict[str, Any]) -> Asked:
        with self._lock:
            asked = Asked(language, body, headers, len(self.asked), 0)
            asked = Asked(language, body, headers, len(self.asked), self._texts[asked.text])
            self.asked.append(asked)
            self._texts[asked.text] += 1
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
        return asked

    def _answer(self, asked: Asked) -> Answer:
        try:
            answer = self._script(asked)
            self._wait(answer.delay)
        except Exception as error:
            self._errors.append(error)
            answer = Answer("The script has raised an exception.", status=500)
        return answer

    def _wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _done(self, asked: Asked, billed: bool) -> None:
        with self._lock:
            self._under_way -= 1
            self.answered[asked.text] += billed


def _in_turn(answers: tuple[Answer, ...]) -> Script:
    return lambda asked: answers[asked.number] if asked.number < len(answers) else Answer()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Whoever asked may leave before the answer; that is no error of the server.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fault_server: FaultServer

    def do_POST(self) -> None:
        server = self.fault_server
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._do_batches(content):
            return
        language = next((name for path, name in _PATHS.items() if self.path.endswith(path)), None)
        if language is None:
            self.send_error(404)
            return
        asked = server._receive(language, {name.lower(): v for name, v in self.headers.items()}, content)
        answer = server._answer(asked)
        status, body = answer.to(asked)
        # Counted before it is sent, so that whoever has the answer finds it counted.
        server._done(asked, status < 400 and answer.cut_after is None)
        self._send(status, body, answer)

    def do_GET(self) -> None:
        if not self._do_batches(b""):
            self.send_error(404)

    def _do_batches(self, content: bytes) -> bool:
        came = self.fault_server._desk.handle(self.command, self.path, content)
        if came is not None:
            status, body, answer = came
            self.fault_server._wait(answer.delay)
            self._send(status, body, answer)
        return came is not None

    def _send(self, status: int, body: bytes, answer: Answer) -> None:
        headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(len(body))}
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if answer.cut_after is not None:
            self.wfile.write((head + body)[: answer.cut_after])
            self.close_connection = True
            with contextlib.suppress(OSError):  # whoever asked has left before
                self.connection.shutdown(socket.SHUT_RDWR)
        elif answer.pace:
            self.wfile.write(head)
            for byte in body:
                self.fault_server._wait(answer.pace)
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(head + body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

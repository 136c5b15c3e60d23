"""One way to send a request through a provider's SDK and to read what comes back, whatever it is."""

from __future__ import annotations

import importlib
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any

from lvlm_va.backends.bodies import take_in_pieces
from lvlm_va.backends.http_errors import ErrorReply, GarbledReplyError, read_error_reply
from lvlm_va.backends.privacy import Endpoint, is_loopback
from lvlm_va.backends.types import ChatFailure

# No honest reply to a request of a few thousand tokens is longer.
MOST_BYTES = 4 * 2**20
_LONGEST_CONNECT = 10.0
# Headers of our own making. Others come from variables of the environment, meant for the provider's own host.
_HEADERS = {
    "host", "accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent",
    "authorization", "x-api-key", "anthropic-version", "x-stainless-raw-response",
}  # fmt: skip


def http_client(sdk: Any, endpoint: Endpoint, timeout: float, *, foreign_headers: bool) -> Any:
    """Return an HTTP client that neither a proxy, a redirection nor the environment leads astray.

    Parameters
    ----------
    sdk : module
        ``openai`` or ``anthropic``.
    endpoint : Endpoint
        Where it will send. On this machine no proxy of the environment is asked.
    timeout : float
        Seconds for each single step of sending and receiving.
    foreign_headers : bool
        Whether headers that the SDK takes from the environment are sent.
    """
    # Without TLS no certificate needs to be loaded, which takes longer than all else; this context trusts none.
    plain = {"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)} if endpoint.url.startswith("http:") else {}
    hooks = {"response": [partial(take_in_pieces, _library(sdk))]}
    return _client_type(sdk)(
        headers={"Accept-Encoding": "gzip"},
        timeout=sdk.Timeout(timeout, connect=min(timeout, _LONGEST_CONNECT)),
        trust_env=not is_loopback(endpoint.host),
        follow_redirects=False,
        **plain,
        event_hooks=hooks if foreign_headers else {"request": [_drop_foreign_headers], **hooks},
    )


def exchange(
    sdk: Any,
    create: Callable[..., AbstractContextManager[Any]],
    arguments: dict[str, Any],
    timeout: float,
    most_bytes: int = MOST_BYTES,
) -> bytes | ErrorReply | ChatFailure:
    """Return the body of a reply, or why there is none.

    Parameters
    ----------
    sdk : module
        ``openai`` or ``anthropic``.
    create : callable
        The SDK's method, with streaming response.
    arguments : dict
        What it is called with.
    timeout : float
        Seconds after which an exchange is given up, whatever of it has come.
    most_bytes : int, optional
        Longest reply that is read, unpacked.

    Returns
    -------
    bytes, ErrorReply or ChatFailure
        The body; what the server said with an error status; a timeout, cut connection or endless reply.
    """
    came: SimpleQueue[bytes | ErrorReply | ChatFailure | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            came.put(_exchange(sdk, create, arguments, timeout, most_bytes))
        except BaseException as error:
            came.put(error)

    # The SDK's own limits begin anew with each byte; one that is given up here ends when its client is closed.
    Thread(target=work, name="lvlm_va-exchange", daemon=True).start()
    try:
        outcome = came.get(timeout=timeout)
    except Empty:
        return _late(timeout)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _exchange(
    sdk: Any,
    create: Callable[..., AbstractContextManager[Any]],
    arguments: dict[str, Any],
    timeout: float,
    most_bytes: int,
) -> bytes | ErrorReply | ChatFailure:
    http = _library(sdk)
    deadline = time.monotonic() + timeout
    body = bytearray()
    try:
        with create(**arguments) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > most_bytes:
                    raise GarbledReplyError(f"The server's reply is longer than {most_bytes / 2**20:g} MiB.")
                if time.monotonic() > deadline:
                    return _late(timeout)
    except sdk.APIStatusError as error:
        return read_error_reply(error.status_code, error.response.headers, error.response.text)
    except (sdk.APITimeoutError, http.TimeoutException):
        return _late(timeout)
    except (sdk.APIConnectionError, http.TransportError) as error:
        cause = type(error.__cause__ or error).__name__
        return ChatFailure("connection", f"The connection failed or was cut ({cause}).")
    except GarbledReplyError as error:
        return ChatFailure("malformed", str(error))
    return bytes(body)


def _late(timeout: float) -> ChatFailure:
    return ChatFailure("timeout", f"No full reply came within {timeout:g} s.")


def _library(sdk: ModuleType) -> ModuleType:
    """Return the HTTP library that an SDK stands on."""
    return importlib.import_module(_client_type(sdk).__module__.partition(".")[0])


def _client_type(sdk: ModuleType) -> type[Any]:
    # The SDK's own default client asks proxies of the environment even where it is told not to; it derives from
    # the client of whichever HTTP library the SDK stands on.
    client_type: type[Any] = sdk.DefaultHttpxClient.__base__
    return client_type


def _drop_foreign_headers(request: Any) -> None:
    for name in [name for name in request.headers if name.lower() not in _HEADERS]:
        del request.headers[name]

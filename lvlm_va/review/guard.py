"""Who may talk to the review: the browser that opened the printed link, and nobody else."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]

# A table of verdicts may be imported; an edit is far shorter.
MOST_BYTES = 32 * 2**20

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Pass on requests of the browser that holds the token, and refuse all others.

    A request must be for a loopback name and this port (which a page of another site that had its name point here
    cannot ask for), below the secret place, hold the token in the link or the cookie that the link was exchanged for,
    and not come from another site or port. Browsers send a cookie to every port of a host, but to its own place only:
    another server on this machine does not get it, and could do nothing with it. What changes something is a POST of
    JSON, of bounded size, whose Origin is this page.

    Parameters
    ----------
    app : ASGI application
        Gets what is passed on.
    token, place : str
        The secrets in the link: what opens it once more, and the first component of every path.
    port : int
        Where the server listens.
    """

    def __init__(self, app: ASGIApp, *, token: str, place: str, port: int) -> None:
        self._app, self._token, self._root = app, token, f"/{place}"
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        # Browsers keep no cookies apart by port: two reviews must not take each other's.
        self._cookie, self._session = f"lvlm_va_review_{port}", secrets.token_urlsafe(32)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is served here. Got {scope['type']!r} instead.")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope = {**scope, "root_path": self._root}
        opened = self._holds_token(scope)
        refusal = self._refusal(scope, headers, opened)
        body = b""
        if refusal is None and scope["method"] == "POST":
            refusal = _refused_length(headers)
            if refusal is None:
                body = await _read(receive)
                if len(body) > MOST_BYTES:
                    refusal = 413, "This is more than the review takes in one piece."

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = dict(_HEADERS)
                if opened and refusal is None:
                    extra["Set-Cookie"] = (
                        f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path={self._root}/"
                    )
                pairs = [(name.lower().encode(), value.encode()) for name, value in extra.items()]
                message = {**message, "headers": [*message.get("headers", ()), *pairs]}
            await send(message)

        if refusal is None:
            await self._app(scope, _replay(body, receive), guarded_send)
        else:
            await _refuse(guarded_send, *refusal)

    def _refusal(self, scope: Message, headers: dict[str, str], opened: bool) -> tuple[int, str] | None:
        if headers.get("host") not in self._hosts:
            return 403, "This address is not where the review is."
        if not self._is_in_place(scope) or not (opened or self._holds_cookie(headers)):
            return 401, "Open the link that lvlm-va review has printed; every start has a new one."
        if not opened and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "Another site asked for this."
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "Only GET and POST are known here."
        if headers.get("origin") != f"http://{headers['host']}":
            return 403, "Another site asked for this."
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "Changes are sent as JSON."
        return None

    def _is_in_place(self, scope: Message) -> bool:
        place, slash, _ = scope["path"][1:].partition("/")
        return bool(slash) and secrets.compare_digest(f"/{place}".encode(), self._root.encode())

    def _holds_token(self, scope: Message) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return bool(
            scope["method"] == "GET"
            and scope["path"] == f"{self._root}/"
            and secrets.compare_digest(given.encode(), self._token.encode())
        )

    def _holds_cookie(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and secrets.compare_digest(found.value.encode(), self._session.encode())


def _refused_length(headers: dict[str, str]) -> tuple[int, str] | None:
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) <= MOST_BYTES:
        return None
    return 413, "This is more than the review takes in one piece."


async def _read(receive: Receive) -> bytes:
    """Return the body, or its beginning where it is too long."""
    body = bytearray()
    while len(body) <= MOST_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Serve a review on this machine, to this machine."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import Self

from lvlm_va.report._extra import needs_report_extra
from lvlm_va.review.app import make_app
from lvlm_va.review.connection import MOST_WAITING, Connection
from lvlm_va.review.reviewed import ReviewedRun

with needs_report_extra("uvicorn"):
    import uvicorn

_LOOPBACK = "127.0.0.1"
_GRACE_SECONDS = 2


@dataclass(frozen=True)
class ReviewServer:
    """A server that listens on the loopback interface, and on no other.

    Attributes
    ----------
    url : str
        The link that opens the page, with new secrets in it.
    """

    url: str
    _server: uvicorn.Server
    _listener: socket.socket

    @classmethod
    def listen(cls, run: ReviewedRun, *, port: int = 0) -> Self:
        """Listen on a port; 0 takes a free one.

        Raises
        ------
        OSError
            If the port is taken.
        """
        token, place = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        # With its protocol named, asyncio sends answers at once, not when the browser has confirmed their beginning.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_LOOPBACK, port))
            listener.listen(MOST_WAITING)  # from now on the link works, if only once `run` is called
        except OSError:
            listener.close()
            raise
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            make_app(run, token=token, place=place, port=port),
            http=Connection,
            backlog=MOST_WAITING,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        return cls(f"http://{_LOOPBACK}:{port}/{place}/?token={token}", uvicorn.Server(config), listener)

    def run(self) -> None:
        """Answer until `stop`, or until the process is interrupted."""
        with self._listener:
            self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Have `run` return soon; for another thread."""
        self._server.should_exit = True

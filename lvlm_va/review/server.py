"""Serve a review on this machine, to this machine."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Any

from lvlm_va.report._extra import needs_report_extra
from lvlm_va.review.app import make_app
from lvlm_va.review.reviewed import ReviewedRun

_LOOPBACK = "127.0.0.1"


def serve(run: ReviewedRun, *, port: int = 0, echo: Callable[[str], Any]) -> None:
    """Serve a review until the process is interrupted.

    Parameters
    ----------
    run : ReviewedRun
        What is reviewed; closed in the end.
    port : int, default=0
        Where to listen, on the loopback interface only; 0 takes a free one.
    echo : callable
        Gets the link, with a new secret in it.

    Raises
    ------
    ImportError
        If Starlette or uvicorn is missing (extra ``report``).
    OSError
        If the port is taken.
    """
    with needs_report_extra("uvicorn"):
        import uvicorn
    token = secrets.token_urlsafe(32)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_LOOPBACK, port))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            make_app(run, token=token, port=port),
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        echo(f"http://{_LOOPBACK}:{port}/?token={token}")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            run.close()

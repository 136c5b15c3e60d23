"""The web application of a review."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lvlm_va.report._extra import needs_report_extra
from lvlm_va.review.edits import ACTIONS, EDITS, Action, Sent
from lvlm_va.review.guard import ASGIApp, Guard
from lvlm_va.review.journal import JOURNAL_FILE, TABLE_FILE, StaleRevisionError
from lvlm_va.review.page_data import history, image_detail, job, present, whole_state
from lvlm_va.review.reviewed import BusyError, ReviewedRun

with needs_report_extra("Jinja2 and Starlette"):
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

_VIEWS = {
    "verdicts": "Verdicts",
    "descriptions": "Descriptions",
    "examples": "Judge examples",
    "align": "Align again",
    "history": "History",
}
_PICTURES = {"segments": "Segment", "effect": "Effect before", "after": "Effect after"}
_CONFLICT, _UNFIT, _BROKEN = 409, 422, 500


def make_app(run: ReviewedRun, *, token: str, place: str, port: int) -> ASGIApp:
    """Return the application.

    Parameters
    ----------
    run : ReviewedRun
        What is reviewed.
    token, place : str
        The secrets in the link that opens the page; see `Guard`.
    port : int
        Where the server listens.

    Returns
    -------
    ASGI application
        Refuses requests of anyone but the browser that opened the link; see `Guard`.
    """

    # Plain functions are run in threads by Starlette: drawing and writing do not keep others waiting.
    def page(request: Request) -> Response:
        return HTMLResponse(_render_page(run), headers={"Cache-Control": "no-store"})

    def picture(request: Request) -> Response:
        png = run.pictures.png(request.path_params["row"], request.path_params["name"])
        if png is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(png, media_type="image/png", headers={"Cache-Control": "no-cache"})

    def detail(request: Request) -> Response:
        row = request.path_params["row"]
        if row >= len(run.record):
            raise HTTPException(404, "There is no such image.")
        return _json(image_detail(run, row))

    def export(request: Request) -> Response:
        text = run.journal.table().to_json()
        name = {"Content-Disposition": f'attachment; filename="{TABLE_FILE}"', "Cache-Control": "no-store"}
        return Response(text, media_type="application/json", headers=name)

    def reads(content: Callable[[], Any]) -> Callable[[Request], Response]:
        return lambda request: _json(content())

    def does(act: Action) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            sent = _parsed(await request.body())
            return _json(await run_in_threadpool(act, run, sent))

        return answer

    def edits(edit: Action) -> Action:
        def act(run: ReviewedRun, sent: Sent) -> Any:
            edit(run, sent)
            return present(run, since=sent.number("revision"))

        return act

    routes = [
        Route("/", page),
        Mount("/static", StaticFiles(packages=[("lvlm_va.review", "static")])),
        Route("/pictures/{row:int}/{name}.png", picture),
        Route("/api/images/{row:int}", detail),
        Route("/api/export", export),
        Route("/api/state", reads(lambda: whole_state(run))),
        Route("/api/journal", reads(lambda: history(run))),
        Route("/api/progress", reads(lambda: {"revision": run.journal.revision, "job": job(run)})),
        *[Route(f"/api/{name}", does(edits(edit)), methods=["POST"]) for name, edit in EDITS.items()],
        *[Route(f"/api/{name}", does(act), methods=["POST"]) for name, act in ACTIONS.items()],
    ]
    handlers: dict[Any, Any] = {
        StaleRevisionError: _explained(_CONFLICT),
        BusyError: _explained(_CONFLICT),
        ValueError: _explained(_UNFIT),
        TypeError: _explained(_UNFIT),
        OSError: _explained(_BROKEN),
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token=token, place=place, port=port)


def _render_page(run: ReviewedRun) -> str:
    environment = Environment(
        loader=PackageLoader("lvlm_va.review"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("review.html").render(
        run=run.folder.resolve().name,
        views=_VIEWS.items(),
        pictures=_PICTURES.items(),
        table_file=TABLE_FILE,
        journal_file=JOURNAL_FILE,
    )


def _parsed(body: bytes) -> Sent:
    try:
        return Sent(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is not JSON that can be read: {error}") from error


def _json(content: Any, status: int = 200) -> Response:
    # In ASCII: half a surrogate pair, as a model's cut-off answer may hold, has no UTF-8 form.
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(content), status, headers, media_type="application/json")


def _explained(status: int) -> Callable[[Request, Exception], Response]:
    return lambda request, error: _json({"error": str(error)}, status)

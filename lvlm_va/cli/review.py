"""``lvlm-va review``."""

from __future__ import annotations

import getpass
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from lvlm_va.cli.models import AllowRemote, Currency, MaxCost, MaxRequests, PricesPerMillion
from lvlm_va.cli.terminal import tell


def review(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run: what --out named.")],
    port: Annotated[
        int, typer.Option(help="Port on this machine; 0 takes a free one.", min=0, max=65535)
    ] = 0,
    reviewer: Annotated[
        str | None, typer.Option(help="Who reviews, for the journal; by default your login name.")
    ] = None,
    critic: Annotated[
        str | None,
        typer.Option(help="Who may be asked again about images: 'tiny', 'hf:FOLDER', ... as for 'align'."),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Who reads the critic's words, as for 'align'.")] = None,
    allow_remote: AllowRemote = False,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
    prices: PricesPerMillion = None,
    currency: Currency = "USD",
) -> None:
    """Correct the verdicts of a run in the browser, and align again.

    Serves a page to this machine only, at a link that is printed and that nobody else can guess. Read each critique,
    confirm or correct its verdicts, edit the descriptions of the classes, and align again; the critic is asked
    nothing unless you ask it to. Every change is saved at once, in verdicts.json of the folder. Stop with Ctrl+C.
    """
    from lvlm_va.critique.model_options import ModelOptions
    from lvlm_va.review.reviewed import ReviewedRun
    from lvlm_va.review.server import ReviewServer

    models = None
    if critic is not None:
        models = ModelOptions(
            critic,
            judge,
            allow_remote=allow_remote,
            max_requests=max_requests,
            max_cost=max_cost,
            prices=prices,
            currency=currency,
        )
    run = ReviewedRun(run_dir, by=reviewer or getpass.getuser(), models=models)
    try:
        server = ReviewServer.listen(run, port=port)
        tell(f"Open this link in a browser on this machine; Ctrl+C ends the review:\n{server.url}")
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        run.close()

"""``lvlm-va report``: the page of a run that was made before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvlm_va.cli.models import Currency, PricesPerMillion
from lvlm_va.cli.terminal import tell


def report(
    run_dir: Annotated[
        Path, typer.Argument(help="Run directory of 'align', 'demo' or an estimator.", metavar="RUN_DIR")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page; RUN_DIR/report.html where none is named.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    prices: PricesPerMillion = None,
    currency: Currency = "USD",
    show: Annotated[bool, typer.Option("--show", help="Open the page in a browser.")] = False,
) -> None:
    """Write a page that shows what a run found and changed, and pictures of it in RUN_DIR/figures.

    The page is one HTML file that opens in any browser and loads nothing: figures before and after, what the
    classifier looks at, and every critiqued image with its verdicts.
    """
    from lvlm_va.backends import Prices
    from lvlm_va.report import read_run, write_report

    page = write_report(
        read_run(run_dir),
        run_dir / "report.html" if out is None else out,
        title=title,
        prices=None if prices is None else Prices(*prices, currency=currency),
    )
    tell(f"Look at {page}.")
    if show:
        typer.launch(page.resolve().as_uri())

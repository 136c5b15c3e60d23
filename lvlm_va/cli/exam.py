"""``lvlm-va exam``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lvlm_va.cli.models import (
    AllowRemote,
    Batch,
    BatchWait,
    Currency,
    MaxCost,
    MaxRequests,
    PricesPerMillion,
)
from lvlm_va.cli.terminal import tell


def exam(
    critic: Annotated[
        str,
        typer.Option(
            help="Who is asked: 'tiny', 'hf:FOLDER', 'folder:PATH', ... as for 'align'; 'recorded' plays back what a "
            "large vision-language model answered."
        ),
    ],
    judge: Annotated[str | None, typer.Option(help="Who reads the critic's words, as for 'align'.")] = None,
    data_set: Annotated[
        list[str] | None, typer.Option(help="Drawn set to ask about; repeatable. All where none is named.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Images of each set, for a taste; all if not said.", min=1)
    ] = None,
    surroundings: Annotated[
        str, typer.Option(help="What follows from plain surroundings: 'keep' or 'mask'.")
    ] = "keep",
    mixed: Annotated[
        str, typer.Option(help="What follows from mixed segments: 'unsure', 'mask' or 'keep'.")
    ] = "unsure",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which answers are kept as they come, and found again; the page goes there, too."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    allow_remote: AllowRemote = False,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
    prices: PricesPerMillion = None,
    currency: Currency = "USD",
    batch: Batch = False,
    batch_wait: BatchWait = 60.0,
) -> None:
    """Find out whether a model is good enough to judge segments, on drawn images whose shortcuts are known.

    Prints for each set how many verdicts are right, how many artefacts are found and how many of those named are some;
    with --out, a page shows all errors. Run again with the same --out to go on where it was broken off.

    For example: lvlm-va exam --critic http://127.0.0.1:8000/v1#MODEL --images 10 --out exam
    """
    from lvlm_va.critic_exam import exam as ask
    from lvlm_va.critic_exam import write_page
    from lvlm_va.critique import VerdictPolicy
    from lvlm_va.critique.model_options import ModelOptions

    models = ModelOptions(
        None if critic == "recorded" else critic, judge, None, allow_remote, max_requests, max_cost, prices, currency,
        batch, batch_wait,
    )  # fmt: skip
    asked, reader = models.make()
    policy: dict[str, Any] = {"surroundings": surroundings, "mixed": mixed}
    result = ask(
        asked or critic,
        judge=reader,
        policy=None if policy == asdict(VerdictPolicy()) else VerdictPolicy(**policy),
        sets=data_set,
        n_images=images,
        run_dir=out,
        prices=models.make_prices(),
        echo=(lambda line: None) if as_json else tell,
    )
    if out is not None:
        page = write_page(result, out / "exam.html")
        if not as_json:
            tell(f"Look at {page}.")
    if as_json:
        tell(json.dumps(result.to_json()))

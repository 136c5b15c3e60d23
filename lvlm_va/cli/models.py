"""Options of the commands that ask models; `lvlm_va.critique.model_options` makes critics and judges of them."""

from __future__ import annotations

from typing import Annotated

import typer

AllowRemote = Annotated[bool, typer.Option("--allow-remote", help="Let images and texts leave this machine.")]
MaxRequests = Annotated[int | None, typer.Option(help="Most requests sent to models in one go.", min=0)]
MaxCost = Annotated[
    float | None, typer.Option(help="Most money spent on models in one go, at --prices.", min=0)
]
PricesPerMillion = Annotated[
    tuple[float, float] | None,
    typer.Option(help="What a million tokens cost, in and out: '--prices 2.5 10'; in batches half of it."),
]
Batch = Annotated[
    bool, typer.Option("--batch", help="Ask by the provider's batches: half the price, answers within a day.")
]
BatchWait = Annotated[
    float,
    typer.Option(
        help="Seconds between two looks at unfinished batches; 0 hands all over, also to a 'folder:PATH', and ends. "
        "Run again to go on.",
        min=0,
    ),
]
Currency = Annotated[str, typer.Option(help="Currency of the prices.")]

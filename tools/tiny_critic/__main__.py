"""``python -m tools.tiny_critic train | evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train and measure the small vision-language model that ships with the package.")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 0,
) -> None:
    """Train the model from nothing on drawn scenes (some minutes on one core)."""
    from tools.tiny_critic.training import train_tiny_critic

    train_tiny_critic(out, seed=seed, echo=typer.echo)


@app.command()
def evaluate(
    model: Annotated[
        Path | None, typer.Option(help="Folder of a model; by default the one that ships with the package.")
    ] = None,
    images: Annotated[
        int, typer.Option(help="Decoy digits that are judged; the model card's figures are of 400.", min=1)
    ] = 80,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    out: Annotated[Path | None, typer.Option(help="File to write the JSON object to as well.")] = None,
) -> None:
    """Measure a model on real decoy digits, and in the demo (two minutes on one core)."""
    from lvlm_va.common.files import write_json
    from lvlm_va.common.threads import one_thread
    from lvlm_va.critique import TinyCritic
    from tools.tiny_critic.evaluation import evaluate_tiny_critic

    with one_thread():
        figures = evaluate_tiny_critic(
            TinyCritic(folder=model),
            n_images=images,
            n_per_template=max(4, images // 25),
            echo=(lambda line: None) if as_json else typer.echo,
        )
    if out is not None:
        write_json(out, figures)
    if as_json:
        typer.echo(json.dumps(figures))


if __name__ == "__main__":
    app()

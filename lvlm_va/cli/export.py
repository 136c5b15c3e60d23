"""``lvlm-va export``: masks, verdicts and the aligned net of a run, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvlm_va.cli.nets import load_module
from lvlm_va.cli.terminal import tell


def export(
    run_dir: Annotated[
        Path, typer.Argument(help="Run directory of 'align' or an estimator.", metavar="RUN_DIR")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for what is written.", metavar="OUT")],
    masks: Annotated[
        str | None,
        typer.Option(
            help="The masks of the alignment, drawn ones included: 'png' (a file per image), 'npy' (one array) or "
            "'coco' (JSON with run lengths)."
        ),
    ] = None,
    verdicts: Annotated[str | None, typer.Option(help="The verdict on each segment: 'csv'.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The aligned net: weights as 'state-dict' or 'safetensors', a 'transformers' folder, or a graph as "
            "'torch-export' or 'onnx'."
        ),
    ] = None,
    module: Annotated[
        str | None, typer.Option(help="The net, as for 'align'; for formats that hold more than weights.")
    ] = None,
) -> None:
    """Write what a run found and made in formats that other programs read.

    Graphs take images in [0, 1]: what was given as --mean and --std is part of them. Beside weights, model.json says
    how to normalise, and what the logits stand for.

    For example: lvlm-va export run out --masks coco --verdicts csv --model onnx --module mynets:make_net
    """
    from lvlm_va.experiments.export_run import export_run

    net = None if module is None else load_module(module, None)
    for path in export_run(run_dir, out, masks=masks, verdicts=verdicts, model=model, module=net):
        tell(f"Written: {path}")

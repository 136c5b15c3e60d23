"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Weights = Annotated[
    Path | None,
    typer.Option(
        help="Trained weights: .safetensors, a state_dict saved by torch, or a transformers folder."
    ),
]

Output = Annotated[
    str | None,
    typer.Option(help="Which part of the net's output is its logits: a key, an attribute, or a number."),
]

Mean = Annotated[
    str | None,
    typer.Option(
        help="'a,b,c': what the net's training took from each channel of images in [0, 1]; by default what a "
        "transformers or timm folder given as --weights says."
    ),
]

Std = Annotated[str | None, typer.Option(help="'a,b,c': what it then divided each channel by; with --mean.")]

TableFile = Annotated[
    str, typer.Option(help="CSV table of the images; 'folders' takes each image's folder as its label.")
]

TableColumns = Annotated[
    list[str] | None,
    typer.Option(help="'label=grade': the table's own name for path, label, split, ...; repeatable."),
]

Extension = Annotated[str, typer.Option(help="Added to the table's paths, such as '.jpg'.")]

ImageSize = Annotated[tuple[int, int], typer.Option(help="Height and width of the images.")]

FitTo = Annotated[
    str,
    typer.Option(
        help="Images of another aspect: 'stretch' them, 'pad' them with black, or 'crop' what stands out."
    ),
]

Grey = Annotated[bool, typer.Option("--grey", help="Read the images as one channel.")]

Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1', ...")]

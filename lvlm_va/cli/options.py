"""Options that several commands share, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

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


def normalisation(
    mean: str | None, std: str | None, saved: Path | None, echo: Callable[[str], Any]
) -> dict[str, list[float]] | None:
    """Return what --mean and --std say, or else the folder of a saved model that the net or its weights come from."""
    if mean is None and std is None:
        if saved is None or not saved.expanduser().is_dir():
            return None
        from lvlm_va.modules.preprocessing import preprocessing_from

        try:
            found = preprocessing_from(saved)
        except FileNotFoundError:  # weights alone
            return None
        echo(
            f"Images are normalised as {saved} says: mean {found['mean']}, std {found['std']} (--mean, --std)."
        )
        return found
    if mean is None or std is None:
        raise typer.BadParameter("give both, or neither.", param_hint="--mean / --std")
    try:
        return {
            "mean": [float(number) for number in mean.split(",")],
            "std": [float(number) for number in std.split(",")],
        }
    except ValueError as error:
        raise typer.BadParameter(
            f"expected numbers such as 0.485,0.456,0.406: {error}", param_hint="--mean / --std"
        ) from error


def output_part(output: str | None) -> str | int | None:
    """Return what --output names: a key or attribute, or a number."""
    return int(output) if output is not None and output.isdecimal() else output

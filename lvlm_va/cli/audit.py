"""``lvlm-va audit``: whether a classifier cheats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lvlm_va.cli.nets import load_module
from lvlm_va.cli.options import (
    Device,
    Extension,
    FitTo,
    Grey,
    ImageSize,
    Mean,
    Output,
    Std,
    TableColumns,
    TableFile,
    Weights,
)
from lvlm_va.cli.terminal import tell
from lvlm_va.cli.values import normalisation, output_part, pairs

if TYPE_CHECKING:
    from lvlm_va.datasets.image_file import Fit


def audit(
    data: Annotated[Path, typer.Argument(help="Folder with the images.")],
    module: Annotated[
        str,
        typer.Option(
            help="'package.module:callable' that returns the trained torch module, 'hf:FOLDER' or 'timm:FOLDER'."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for audit.html and audit.json.")],
    weights: Weights = None,
    output: Output = None,
    classes: Annotated[
        str | None, typer.Option(help="'a,b,c': the labels in the order of the module's logits.")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    split: Annotated[
        str | None, typer.Option(help="Audit on the images of this split alone: train, validation or test.")
    ] = None,
    table: TableFile = "labels.csv",
    column: TableColumns = None,
    extension: Extension = "",
    image_size: ImageSize = (224, 224),
    fit: FitTo = "stretch",
    grey: Grey = False,
    n_images: Annotated[int, typer.Option(help="Images that are explained at most.", min=1)] = 1000,
    n_pairs: Annotated[int, typer.Option(help="Images that a family's regions are put into.", min=1)] = 150,
    batch_size: Annotated[int, typer.Option(help="Images per batch.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Device = "auto",
) -> None:
    """Find out what a trained classifier relies on, and what of it looks like a shortcut.

    Asks no model, and needs nothing but the net and images: better such as it was not trained on. Writes a page with
    the families of regions that speak for its answers, the most suspicious first, and what they do in other images.

    For example: lvlm-va audit scans --module mynets:make_net --weights net.safetensors --out audit
    """
    import sys

    from lvlm_va.common.files import write_json
    from lvlm_va.datasets.folder import open_image_folder
    from lvlm_va.model_audit import audit as audit_model
    from lvlm_va.report import write_audit

    folder = open_image_folder(
        data,
        None if table == "folders" else table,
        image_size=image_size,
        mode="L" if grey else "RGB",
        columns=pairs(column, "--column"),
        extension=extension,
        fit=cast("Fit", fit),
    )
    if split is not None:
        if folder.splits is None or split not in set(folder.splits.tolist()):
            raise typer.BadParameter(f"the table has no images of {split!r}.", param_hint="--split")
        folder = folder.select(folder.splits == split)
    saved = Path(module.partition(":")[2]) if module.startswith(("hf:", "timm:")) else weights
    found = audit_model(
        load_module(module, weights),
        folder,
        classes=None if classes is None else [label.strip() for label in classes.split(",")],
        preprocess=normalisation(mean, std, saved, tell),
        output=output_part(output),
        n_images=n_images,
        n_pairs=n_pairs,
        batch_size=batch_size,
        num_workers=0,
        device=device,
        random_state=seed,
        verbose=int(sys.stderr.isatty()),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "audit.json", found.to_json())
    page = write_audit(found, out / "audit.html")
    tell(str(found))
    tell(f"Look at {page}.")

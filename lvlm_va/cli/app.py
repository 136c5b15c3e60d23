"""The command line: ``lvlm-va demo | align | audit | report | review | export | exam | experiment | doctor | info``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lvlm_va.cli.audit import audit
from lvlm_va.cli.doctor import doctor
from lvlm_va.cli.exam import exam
from lvlm_va.cli.exit_codes import EXIT_CODES, exit_code
from lvlm_va.cli.experiment import SAMPLERS, experiment
from lvlm_va.cli.export import export
from lvlm_va.cli.models import (
    AllowRemote,
    Batch,
    BatchWait,
    Currency,
    MaxCost,
    MaxRequests,
    PricesPerMillion,
)
from lvlm_va.cli.nets import folder_of, load_module
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
from lvlm_va.cli.report import report
from lvlm_va.cli.review import review
from lvlm_va.cli.stopping import StoppableCommands
from lvlm_va.cli.terminal import complain, tell
from lvlm_va.cli.values import finding_values, normalisation, output_part, pairs, region_critic
from lvlm_va.common.threads import one_thread

VERDICTS = (
    "Corrected verdicts of an earlier run with the same --out, as 'lvlm-va review' writes them; asks only about "
    "images that were never answered."
)

app = typer.Typer(
    name="lvlm-va",
    cls=StoppableCommands,
    help="Find out when an image classifier looks at the wrong thing, and mend it with words.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog=EXIT_CODES)(report)
app.command(epilog=EXIT_CODES)(review)
app.command(epilog=EXIT_CODES)(audit)
app.command(epilog=EXIT_CODES)(exam)
app.command(epilog=EXIT_CODES)(export)
app.command(epilog=EXIT_CODES)(doctor)


@app.command(epilog=EXIT_CODES)
def info() -> None:
    """Show versions, devices, and whether the compiled kernels are in use."""
    from lvlm_va.runs.environment import show_versions

    tell(show_versions())


@app.command(epilog=EXIT_CODES)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, the picture and the report.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    verdicts: Annotated[Path | None, typer.Option(help=VERDICTS)] = None,
) -> None:
    """Mend a net that reads a grey patch instead of the digit (scikit-learn's digits, about a minute).

    In the training images the shade of a small patch in one corner gives the class away; in the test images it
    does not. The net learns the patch. Then a small vision-language model, told in words that the digit counts and
    the patch does not, judges what the net looks at, and the net is aligned. Nothing is downloaded.
    """
    from lvlm_va.experiments.demo import run_demo

    with one_thread():
        run_demo(out, seed=seed, verdicts=verdicts, echo=tell)


app.command(epilog=EXIT_CODES)(experiment)


@app.command(epilog=EXIT_CODES)
def align(
    data: Annotated[Path, typer.Argument(help="Folder with the images.")],
    module: Annotated[
        str,
        typer.Option(
            help="'package.module:callable' that returns the torch module, 'hf:FOLDER' or 'timm:FOLDER' of a trained "
            "net, 'timm:NAME', or a built-in net."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; the aligned weights go to aligned.safetensors in it.")
    ],
    weights: Weights = None,
    output: Output = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="'a,b,c': the labels in the order of the module's logits; by default as a transformers checkpoint "
            "names them, or else sorted."
        ),
    ] = None,
    mean: Mean = None,
    std: Std = None,
    critic: Annotated[
        str | None,
        typer.Option(
            help="Who judges: 'tiny' (the model that ships), 'hf:FOLDER', 'http://127.0.0.1:8000/v1#MODEL', "
            "'openai:MODEL', 'anthropic:MODEL', 'folder:PATH' (whoever answers the questions written there), "
            "'table:verdicts.json', or 'recorded:replies.jsonl'."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Who reads the critic's words: 'parser' (verdict lines; the default), or a model as for --critic."
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help='Verdict table whose "examples" the judge is shown; without --judge the critic\'s model judges.'
        ),
    ] = None,
    allow_remote: AllowRemote = False,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
    prices: PricesPerMillion = None,
    currency: Currency = "USD",
    batch: Batch = False,
    batch_wait: BatchWait = 60.0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train and explain, print what asking would take and cost, and send nothing."
        ),
    ] = False,
    irrelevant: Annotated[
        list[str] | None,
        typer.Option(
            help="Region that must not count; repeatable. Regions are corners, top_left, top_right, bottom_left, "
            "bottom_right, border, centre, top, bottom, left, right."
        ),
    ] = None,
    relevant: Annotated[list[str] | None, typer.Option(help="Region that should count; repeatable.")] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            help="Masks of some training images that people drew of what must not count: a folder of PNG files named "
            "like the images, or 'table' for the table's mask_path. They hold against verdicts; no critic is needed."
        ),
    ] = None,
    relevant_masks: Annotated[
        str | None, typer.Option(help="The same of what should count; all outside must not.")
    ] = None,
    describe: Annotated[
        list[str] | None, typer.Option(help="'class=TEXT': what should count for the class; repeatable.")
    ] = None,
    verdicts: Annotated[Path | None, typer.Option(help=VERDICTS)] = None,
    table: TableFile = "labels.csv",
    column: TableColumns = None,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            help="Several findings per image: a column of 0 and 1 for each, or names of which the column of the label "
            "lists those present, as in 'Mass|Effusion'; repeatable. --describe takes them, too."
        ),
    ] = None,
    finding_value: Annotated[
        list[str] | None,
        typer.Option(help="'-1=0', 'blank=0': what another cell of such a column stands for; repeatable."),
    ] = None,
    extension: Extension = "",
    image_size: ImageSize = (224, 224),
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Values that become black and white in images of more than 8 bits; by default taken from all of them."
        ),
    ] = None,
    fit: FitTo = "stretch",
    grey: Grey = False,
    sampler: Annotated[str, typer.Option(help=SAMPLERS)] = "class_balanced",
    n_align: Annotated[int, typer.Option(help="Number of critiqued images.", min=1)] = 300,
    ask: Annotated[
        str,
        typer.Option(
            help="What the critic is asked about: 'images', or 'families' of areas that are one kind of thing in many "
            "images: one question for each."
        ),
    ] = "images",
    n_questions: Annotated[int, typer.Option(help="Most questions with --ask families.", min=1)] = 20,
    segmenter: Annotated[
        str,
        typer.Option(help="How explanations are cut: regions, ppeps_wgm, grid, slic or sam:FOLDER."),
    ] = "regions",
    propagate: Annotated[
        int, typer.Option(help="Extend the verdicts to so many images; 0 for none.", min=0)
    ] = 0,
    epochs: Annotated[
        int, typer.Option(help="Epochs of ordinary training first; 0 with trained weights.", min=0)
    ] = 0,
    align_epochs: Annotated[int, typer.Option(help="Epochs of alignment.", min=0)] = 10,
    early_stopping: Annotated[
        float,
        typer.Option(
            help="Share of the critiqued images held out of alignment, which keeps the epoch that is best on them; "
            "ordinary training then stops by the table's validation images. 0 for neither.",
            min=0,
            max=0.99,
        ),
    ] = 0.0,
    if_worse: Annotated[
        str, typer.Option(help="Of a classifier that alignment made worse: 'warn', or 'restore' what it was.")
    ] = "warn",
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Flip, shift, scale and brighten images and masks in each batch."),
    ] = False,
    class_weight: Annotated[
        str | None, typer.Option(help="'balanced' weighs the classes as if there were as many of each.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images per batch.", min=1)] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    precision: Annotated[
        str, typer.Option(help="'bf16' trains in bfloat16 where torch's autocast does; or 'float32'.")
    ] = "float32",
    accumulation_steps: Annotated[
        int, typer.Option(help="Forward each batch in so many parts, to save memory.", min=1)
    ] = 1,
    workers: Annotated[
        int, typer.Option(help="Processes that read images ahead from a folder too large for memory.", min=0)
    ] = 0,
    device: Device = "auto",
) -> None:
    """Align your own classifier on your own images.

    The table has a row per image: path, label (or columns of findings) and, where known, split (train, validation,
    test), group, patient, mask_path. The images of the test split, if any, are measured before and after; with masks of
    the spurious pixels, alignment too.

    On several GPUs: torchrun --nproc-per-node 4 -m lvlm_va align ..., or accelerate launch -m lvlm_va align ...

    For example: lvlm-va align scans --module mynets:make_net --weights net.safetensors --irrelevant corners --out run
    """
    from lvlm_va.alignment import Augmentation
    from lvlm_va.common.distributed import join, leave, rank
    from lvlm_va.critique.model_options import ModelOptions
    from lvlm_va.experiments.align_folder import align_folder

    regions = irrelevant is not None or relevant is not None
    n_judges = (critic is not None) + regions
    if n_judges > 1 or not (n_judges or masks or relevant_masks):
        raise typer.BadParameter(
            "give either a critic or regions, or masks.",
            param_hint="--critic / --irrelevant / --relevant / --masks",
        )
    if finding and classes is not None:
        raise typer.BadParameter("the findings are named by --finding.", param_hint="--classes")
    home = folder_of(module)
    if (":" not in module or (module.startswith("timm:") and home is None)) and not epochs:
        raise typer.BadParameter("an untrained net must be trained first.", param_hint="--epochs")
    join(device)  # before a model is loaded, so that each process loads it to a GPU of its own
    echo = tell if rank() == 0 else lambda line: None
    preprocess = normalisation(mean, std, home or weights, echo)
    asking = (allow_remote, max_requests, max_cost, prices, currency, batch, batch_wait)
    models = ModelOptions(critic, judge, examples, *asking)
    asked, reader = models.make()
    align_folder(
        data,
        module=load_module(module, weights),
        critic=region_critic(irrelevant, relevant) if regions else asked,
        judge=reader,
        specifications=pairs(describe, "--describe"),
        out=out,
        image_size=image_size,
        mode="L" if grey else "RGB",
        table=None if table == "folders" else table,
        columns=pairs(column, "--column"),
        extension=extension,
        window=window,
        fit=fit,
        findings=finding,
        finding_values=finding_values(finding_value),
        masks=masks,
        relevant_masks=relevant_masks,
        verdicts=verdicts,
        dry_run=dry_run,
        prices=models.make_prices(),
        command=("lvlm-va", *sys.argv[1:]),
        echo=echo,
        parameters={
            "classes": None if classes is None else [label.strip() for label in classes.split(",")],
            "preprocess": preprocess,
            "output": output_part(output),
            "sampler": sampler,
            "n_align": n_align,
            "ask": ask,
            "n_questions": n_questions,
            "segmenter": segmenter,
            "propagate": propagate or False,
            "epochs": epochs,
            "align_epochs": align_epochs,
            "early_stopping": early_stopping > 0,
            "validation_fraction": early_stopping or 0.2,
            "if_worse": if_worse,
            "augment": Augmentation() if augment else None,
            "class_weight": class_weight,
            "batch_size": batch_size,
            "lr": lr,
            "precision": precision,
            "accumulation_steps": accumulation_steps,
            "random_state": seed,
            "num_workers": workers,
            "device": device,
            "verbose": int(sys.stderr.isatty()),
        },
    )
    leave()


def main() -> None:
    """Run the command line and turn errors into messages and exit codes."""
    try:
        app()
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        complain(f"lvlm-va: {error}")
        raise SystemExit(code) from None

"""The command line: ``lvlm-va demo | align | report | review | export | exam | experiment | info``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lvlm_va.cli.exam import exam
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
from lvlm_va.cli.report import report
from lvlm_va.cli.review import review
from lvlm_va.cli.terminal import complain, tell
from lvlm_va.common.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvlm_va.critique import Critic

EXIT_CODES = """\
Exit codes: 0 done; 1 an unexpected error; 2 wrong arguments or data (the message says which); 3 a file, package or
compiled part is missing; 4 a model stopped answering, or has not answered everything yet (run again: what it has
answered is kept); 5 another process of this run stopped (run again: what is done is kept).
"""

VERDICTS = (
    "Corrected verdicts of an earlier run with the same --out, as 'lvlm-va review' writes them; asks only about "
    "images that were never answered."
)

app = typer.Typer(
    name="lvlm-va",
    help="Find out when an image classifier looks at the wrong thing, and mend it with words.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog=EXIT_CODES)(report)
app.command(epilog=EXIT_CODES)(review)
app.command(epilog=EXIT_CODES)(exam)
app.command(epilog=EXIT_CODES)(export)


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
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Trained weights: .safetensors, a state_dict saved by torch, or a transformers folder."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="Which part of the net's output is its logits: a key, an attribute, or a number."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="'a,b,c': the labels in the order of the module's logits; by default as a transformers checkpoint "
            "names them, or else sorted."
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="'a,b,c': what the net's training took from each channel of images in [0, 1]; by default what a "
            "transformers or timm folder given as --weights says."
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="'a,b,c': what it then divided each channel by; with --mean.")
    ] = None,
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
    table: Annotated[
        str, typer.Option(help="CSV table of the images; 'folders' takes each image's folder as its label.")
    ] = "labels.csv",
    column: Annotated[
        list[str] | None,
        typer.Option(help="'label=grade': the table's own name for path, label, split, ...; repeatable."),
    ] = None,
    extension: Annotated[str, typer.Option(help="Added to the table's paths, such as '.jpg'.")] = "",
    image_size: Annotated[tuple[int, int], typer.Option(help="Height and width of the images.")] = (224, 224),
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Values that become black and white in images of more than 8 bits; by default taken from all of them."
        ),
    ] = None,
    fit: Annotated[
        str,
        typer.Option(
            help="Images of another aspect: 'stretch' them, 'pad' them with black, or 'crop' what stands out."
        ),
    ] = "stretch",
    grey: Annotated[bool, typer.Option("--grey", help="Read the images as one channel.")] = False,
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
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1', ...")] = "auto",
) -> None:
    """Align your own classifier on your own images.

    The table has a row per image: path, label and, where known, split (train, test), group, patient, mask_path. The
    images of the test split, if any, are measured before and after; with masks of the spurious pixels, alignment too.

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
    home = folder_of(module)
    if (":" not in module or (module.startswith("timm:") and home is None)) and not epochs:
        raise typer.BadParameter("an untrained net must be trained first.", param_hint="--epochs")
    join(device)  # before a model is loaded, so that each process loads it to a GPU of its own
    echo = tell if rank() == 0 else lambda line: None
    preprocess = _normalisation(mean, std, home or weights, echo)
    asking = (allow_remote, max_requests, max_cost, prices, currency, batch, batch_wait)
    models = ModelOptions(critic, judge, examples, *asking)
    asked, reader = models.make()
    align_folder(
        data,
        module=load_module(module, weights),
        critic=_region_critic(irrelevant, relevant) if regions else asked,
        judge=reader,
        specifications=_pairs(describe, "--describe"),
        out=out,
        image_size=image_size,
        mode="L" if grey else "RGB",
        table=None if table == "folders" else table,
        columns=_pairs(column, "--column"),
        extension=extension,
        window=window,
        fit=fit,
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
            "output": int(output) if output is not None and output.isdecimal() else output,
            "sampler": sampler,
            "n_align": n_align,
            "ask": ask,
            "n_questions": n_questions,
            "segmenter": segmenter,
            "propagate": propagate or False,
            "epochs": epochs,
            "align_epochs": align_epochs,
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


def _region_critic(irrelevant: list[str] | None, relevant: list[str] | None) -> Critic:
    from lvlm_va.critique import RegionCritic

    declared = {"irrelevant": irrelevant, "relevant": relevant}
    return RegionCritic({kind: regions for kind, regions in declared.items() if regions})


def _normalisation(
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


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Return what stands before and after the first '=' of each text."""
    pairs = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"expected NAME=TEXT, got {text!r}.", param_hint=option)
        pairs[name] = value
    return pairs


def main() -> None:
    """Run the command line and turn errors into messages and exit codes."""
    try:
        app()
    except (ValueError, TypeError, FloatingPointError) as error:
        _fail(error, 2)
    except (OSError, ImportError) as error:
        _fail(error, 3)
    except RuntimeError as error:
        from lvlm_va.common.distributed import ProcessesStoppedError
        from lvlm_va.critique import ModelStoppedError

        if isinstance(error, ProcessesStoppedError):
            _fail(error, 5)
        if not isinstance(error, ModelStoppedError):
            raise
        _fail(error, 4)


def _fail(error: Exception, code: int) -> NoReturn:
    complain(f"lvlm-va: {error}")
    raise SystemExit(code)

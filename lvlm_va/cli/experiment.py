"""The command that runs experiments."""

from __future__ import annotations

import dataclasses
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lvlm_va.cli.terminal import tell

SAMPLERS = (
    "How the critiqued images are chosen: low_entropy, high_entropy, random, class_balanced or adaptive."
)


class Experiment(StrEnum):
    """Experiments that can be run."""

    main = "main"
    strengths = "lambda"
    sampling = "sampling"
    segmenters = "segmenters"
    verdicts = "verdicts"
    critiques = "critiques"
    components = "components"
    rounds = "rounds"
    augmentation = "augmentation"
    recorded = "recorded"
    heads = "heads"
    audit = "audit"
    decoy_mnist = "decoy-mnist"
    decoy_fashion_mnist = "decoy-fashion-mnist"
    decoy_digits = "decoy-digits"


class Variant(StrEnum):
    """Definitions of Decoy-MNIST."""

    ross = "ross"
    cdep = "cdep"


# What an experiment looks at besides 'out' and 'seeds'.
_OF_RECORDED = frozenset(("data_set", "method", "jobs"))
_OF_COMPARISONS = frozenset(("quick", "data_dir", "fashion_dir", "data_set", "method", "jobs"))
_SETTINGS = frozenset(("critic", "sampler", "n_align", "propagate", "verdict_accuracy"))
_OF_DECOYS = {
    Experiment.decoy_mnist: _SETTINGS | {"data_dir", "variant"},
    Experiment.decoy_fashion_mnist: _SETTINGS | {"fashion_dir", "variant"},
    Experiment.decoy_digits: _SETTINGS,
}
_APPLIES = {
    Experiment.recorded: _OF_RECORDED,
    Experiment.heads: frozenset(("quick",)),
    Experiment.audit: frozenset(("quick", "data_dir", "jobs", "critic")),
    **_OF_DECOYS,
}


def experiment(
    context: typer.Context,
    name: Annotated[Experiment, typer.Argument(help="What to run.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and everything that resuming needs.")],
    seeds: Annotated[
        int | None,
        typer.Option(help="Number of seeds, from 0; otherwise 7, and 1 with --quick, 3 for heads.", min=1),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with the idx files (train-images-idx3-ubyte.gz, ...) of MNIST."),
    ] = None,
    fashion_dir: Annotated[
        Path | None, typer.Option(help="Folder with the idx files of Fashion-MNIST.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="For a comparison: small nets, few images, and only the sets that need no files."
        ),
    ] = False,
    data_set: Annotated[
        list[str] | None,
        typer.Option(help="Only this data set of a comparison; repeatable."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this method of a comparison, beside erm; repeatable."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="Data sets and seeds of a comparison at once, each on one core; -1: as many as cores."
        ),
    ] = -1,
    critic: Annotated[
        str | None,
        typer.Option(
            help="For decoy-...: 'tiny' (the model that ships), 'oracle' (true masks), 'confused' (true masks, "
            "but plain surroundings taken for artefacts) or 'region' (corners do not matter). For audit: who is asked "
            "besides the true masks, such as tiny, hf:FOLDER, folder:PATH or http://127.0.0.1:8000/v1#MODEL."
        ),
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=f"For decoy-...: {SAMPLERS}")] = None,
    n_align: Annotated[
        int | None, typer.Option(help="For decoy-...: number of critiqued images.", min=1)
    ] = None,
    propagate: Annotated[
        int | None,
        typer.Option(help="For decoy-...: extend the verdicts to so many images; 0 for none.", min=0),
    ] = None,
    verdict_accuracy: Annotated[
        float | None, typer.Option(help="For decoy-...: share of right verdicts of 'oracle'.", min=0, max=1)
    ] = None,
    variant: Annotated[
        Variant, typer.Option(help="For decoy-...mnist: whose definition of Decoy-MNIST.")
    ] = Variant.ross,
) -> None:
    """Run an experiment, on several seeds. Run again with the same folder, it goes on where it was stopped.

    main compares every method on every data set. lambda, sampling, segmenters, verdicts (their accuracy), critiques
    (their number), components (of the mixture) and rounds vary one choice each. The files of such a comparison show the
    methods, data sets and seeds of the last command; what earlier ones made in the same folder is kept, and shown again
    by a command that asks for it.

    recorded aligns the nets of the exam by what a large vision-language model said of their segments (`lvlm-va exam
    --critic recorded`), and by what is true of the same segments.

    heads aligns one trained net on the same radiographs: told by two logits, by one, and as one of two findings of
    which only it has the tag.

    audit looks for the shortcut of nets that have one, before and after alignment by 20 questions about families of
    regions, and for false alarms in nets that have none. With '--critic' the questions are put to that model, too.

    decoy-... compare the unaligned net, the aligned one, and one aligned with the true masks of all training images,
    as the options say; what is not given is as suits the data: 300 images of low entropy judged by the true masks, or
    150 decoyed digits drawn at random and judged by the tiny critic.
    """
    given = {option for option in context.params if _is_given(context, option)}
    _refuse_what_does_not_apply(name, given)
    seeds = seeds or ((3 if name is Experiment.heads else 1) if quick else 7)
    if name is Experiment.heads:
        from lvlm_va.experiments.heads import run_heads

        run_heads(quick=quick, seeds=seeds, out=out, echo=tell, command=_command())
        return
    if name is Experiment.audit:
        from lvlm_va.experiments.audit import run_audits

        run_audits(
            quick=quick,
            seeds=seeds,
            out=out,
            echo=tell,
            mnist=data_dir,
            jobs=jobs,
            critic=critic,
            command=_command(),
        )
        return
    if name not in _OF_DECOYS:
        _compare(name.value, out, seeds, quick, data_dir, fashion_dir, data_set, method, jobs)
        return
    from lvlm_va.experiments.decoy import DIGITS, MNIST, run_decoy
    from lvlm_va.experiments.tasks import DECOY_DIGITS, decoy_mnist_task

    folder = fashion_dir if name is Experiment.decoy_fashion_mnist else data_dir
    if name is Experiment.decoy_digits:
        task, critiques = DECOY_DIGITS, DIGITS
    elif folder is not None:
        task, critiques = decoy_mnist_task(folder, variant.value), MNIST
    else:
        option = "--fashion-dir" if name is Experiment.decoy_fashion_mnist else "--data-dir"
        raise typer.BadParameter(f"{name.value} needs the folder with its idx files.", param_hint=option)
    critiques = dataclasses.replace(
        critiques, **{option: context.params[option] for option in given & _SETTINGS}
    )
    if verdict_accuracy is not None and critiques.critic != "oracle":
        raise typer.BadParameter(
            f"Only '--critic oracle' errs as often as it is told. Got the critic '{critiques.critic}'.",
            param_hint=_flag("verdict_accuracy"),
        )
    run_decoy(name.value, task, critiques, seeds=seeds, out=out, echo=tell, command=_command())


def _command() -> str:
    return " ".join(["lvlm-va", *sys.argv[1:]])


def _is_given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _refuse_what_does_not_apply(name: Experiment, given: set[str]) -> None:
    """Raise where the user gave an option that this experiment does not look at."""
    for option in sorted(given - _APPLIES.get(name, _OF_COMPARISONS) - {"name", "out", "seeds"}):
        raise typer.BadParameter(f"Does not apply to '{name.value}'.", param_hint=_flag(option))
    for option in sorted(given & {"data_dir", "fashion_dir"} if "quick" in given else ()):
        raise typer.BadParameter("'--quick' leaves the sets that need files out.", param_hint=_flag(option))


def _compare(
    name: str,
    out: Path,
    seeds: int,
    quick: bool,
    mnist: Path | None,
    fashion: Path | None,
    data_sets: list[str] | None,
    methods: list[str] | None,
    jobs: int,
) -> None:
    from lvlm_va.common.errors import unknown_name
    from lvlm_va.experiments import recorded
    from lvlm_va.experiments.comparisons import COMPARISONS
    from lvlm_va.experiments.table import run_comparison
    from lvlm_va.experiments.tasks import make_tasks

    if name == Experiment.recorded:
        comparison, tasks = recorded.COMPARISON, recorded.recorded_tasks()
    else:
        comparison, tasks = COMPARISONS[name], make_tasks(quick=quick, mnist=mnist, fashion=fashion)
    for data_set in data_sets or ():
        if data_set not in tasks:
            raise unknown_name("data-set", data_set, tasks)
    chosen = {task: tasks[task] for task in data_sets or tasks}
    results = run_comparison(
        comparison.only(methods),
        chosen,
        seeds=seeds,
        out=out,
        echo=tell,
        jobs=jobs,
        command=_command(),
    )
    if name == Experiment.recorded:
        for data_set, shares in recorded.share_of_gain(results).items():
            for way, share in shares.items():
                typer.echo(f"{data_set}, {way}: {share:.3f} of the gain of true verdicts in the worst group")

"""The critique of explained images: the critic's words, and the judge's verdicts."""

from __future__ import annotations

from torch import nn
from tqdm.auto import tqdm

from lvlm_va.common.distributed import on_first, rank
from lvlm_va.critique import collect_critiques, judge_critiques
from lvlm_va.critique.checks import check_all_judged
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.shown import critique_requests
from lvlm_va.rounds.types import Explained, Round
from lvlm_va.rounds.verdict_codes import VerdictCodes
from lvlm_va.runs.directory import RunDirectory


def have_critiqued(
    module: nn.Module, explained: Explained, data: TrainingData, options: AlignmentOptions, run: RunDirectory
) -> Round:
    """Have segments judged, and keep what was said; what is in the run directory is not asked again.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier that was explained.
    explained : Explained
        Images, and the segments of their explanations.
    data : TrainingData
        The images.
    options : AlignmentOptions
        Who judges.
    run : RunDirectory
        Where answers are kept as they come.

    Returns
    -------
    Round
        The segments and their verdicts.
    """
    critic, judge, chosen = options.critic, options.judge, explained.indices
    assert critic is not None
    silent = not options.verbose or rank() > 0
    with (
        run.timed("critique"),
        tqdm(total=len(chosen), desc="ask the critic", unit="image", disable=silent, leave=False) as bar,
    ):
        said = run.file("critiques", critique_key(explained, options, run), ".jsonl")
        critiques = on_first(
            lambda: collect_critiques(
                critic,
                [data.case_id(case) for case in chosen.tolist()],
                lambda positions: critique_requests(data, options, explained, positions),
                path=said,
                on_progress=bar.update,
                judged=judge is not None,
            )
        )
    key, n_segments_of = verdict_key(explained, options, run), explained.segmentation.n_segments.tolist()
    if judge is not None:
        read = run.file("judged", key, ".jsonl")
        with (
            run.timed("judge"),
            tqdm(
                total=len(chosen), desc="read the verdicts", unit="image", disable=silent, leave=False
            ) as bar,
        ):
            critiques = on_first(
                lambda: judge_critiques(judge, critiques, n_segments_of, path=read, on_progress=bar.update)
            )
    check_all_judged(critiques, n_segments_of)
    codes = VerdictCodes.of(explained.segmentation, critiques)
    return Round(module, chosen, explained.explanation, explained.segmentation, tuple(critiques), key, codes)


def critique_key(explained: Explained, options: AlignmentOptions, run: RunDirectory) -> str:
    """Return the key that stands for everything that the critic's words depend on."""
    return run.key("critique", explained.key, options.critic, options.specifications)


def verdict_key(explained: Explained, options: AlignmentOptions, run: RunDirectory) -> str:
    """Return the key that stands for everything that the verdicts depend on."""
    key = critique_key(explained, options, run)
    # Its own key: a judge with other examples reads what the critic said before.
    return key if options.judge is None else run.key("judge", key, options.judge)

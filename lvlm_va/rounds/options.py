"""How rounds of critique are done: the estimator's parameters, resolved and checked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lvlm_va.attribution import Attributor, ReferenceSet, resolve_attributor
from lvlm_va.common.errors import unknown_name
from lvlm_va.critique import Critic, Judge, LLMJudge, LVLMCritic, resolve_critic, resolve_judge
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.held_out import n_held_out
from lvlm_va.rounds.segment_finder import ExplainOptions
from lvlm_va.sampling import ADAPTIVE, Sampler, resolve_sampler
from lvlm_va.segmentation import Segmenter, resolve_segmenter


@dataclass(frozen=True, eq=False)
class RoundOptions:
    """How a round is done: the estimator's parameters, resolved."""

    sampler: Sampler | Literal["adaptive"]
    n_align: int
    attributor: Attributor
    references: ReferenceSet
    segmenter: Segmenter
    critic: Critic
    judge: Judge | None
    specifications: Mapping[str, str]
    batch_size: int
    seed: int
    verbose: int

    @property
    def explaining(self) -> ExplainOptions:
        """How images are explained and segmented."""
        return ExplainOptions(self.attributor, self.references, self.segmenter, self.seed, self.verbose)


def resolve_critic_and_judge(
    critic: Critic | str | None, judge: Judge | str | None, run_dir: str | os.PathLike[str] | None
) -> tuple[Critic | None, Judge | None]:
    """Return who judges; models keep their replies and a record of all exchanges in the run directory."""
    resolved = resolve_critic(critic)
    if run_dir is not None and isinstance(resolved, LVLMCritic):
        resolved = resolved.kept_in(run_dir)
    reader = resolve_judge(judge, resolved)
    if run_dir is not None and isinstance(reader, LLMJudge):
        reader = reader.kept_in(run_dir)
    return resolved, reader


def resolve_round_options(
    parameters: Mapping[str, Any],
    critic: Critic | None,
    judge: Judge | None,
    references: ReferenceSet,
    data: TrainingData,
    seed: int,
) -> RoundOptions | None:
    """Resolve and check all that rounds need, before anything is trained.

    Parameters
    ----------
    parameters : mapping of str to object
        The estimator's parameters.
    critic : Critic or None
        Who says what the segments cover.
    judge : Judge or None
        Who turns that into verdicts where the critic does not.
    references : ReferenceSet
        What explanations are measured against.
    data : TrainingData
        What the classifier is trained on.
    seed : int
        Seed of samples and segment starts.

    Returns
    -------
    RoundOptions or None
        None without a critic; names are checked all the same.

    Raises
    ------
    ValueError
        If a name is unknown, a description is of an unknown class, the critic cannot judge the data, there are fewer
        images than are to be critiqued in all rounds, or too few of these for early stopping.
    """
    sampler = parameters["sampler"]
    if sampler != ADAPTIVE:
        sampler = resolve_sampler(sampler)
    segmenter = resolve_segmenter(parameters["segmenter"])
    attributor = resolve_attributor(parameters["attribution"])
    if critic is None:
        return None
    specifications = {str(label): text for label, text in (parameters["specifications"] or {}).items()}
    for label in specifications:
        if label not in data.class_names:
            raise unknown_name("specifications", label, data.class_names)
    n, n_align, n_rounds = len(data.labels), parameters["n_align"], parameters["n_rounds"]
    askers: list[Any] = [critic, judge]
    for asker in askers:
        if hasattr(asker, "check_data"):
            asker.check_data(n, tuple(data.images.shape[2:]), data.class_names)
    if n_align * n_rounds > n:
        raise ValueError(
            f"The 'n_align' argument must be at most {n // n_rounds}, for {n_rounds} round{'s' * (n_rounds > 1)} of "
            f"different images out of {n}. Got {n_align} instead."
        )
    if parameters["early_stopping"]:
        n_held_out(n_align, parameters["validation_fraction"])
    return RoundOptions(
        sampler=sampler,
        n_align=n_align,
        attributor=attributor,
        references=references,
        segmenter=segmenter,
        critic=critic,
        judge=judge,
        specifications=specifications,
        batch_size=parameters["batch_size"],
        seed=seed,
        verbose=parameters["verbose"],
    )

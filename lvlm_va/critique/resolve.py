"""From what a user writes to a critic and a judge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from lvlm_va.backends import Budget
from lvlm_va.common.errors import unknown_name
from lvlm_va.critique.families import FamilyVerdicts
from lvlm_va.critique.llm_judge import LLMJudge
from lvlm_va.critique.lvlm_critic import LVLMCritic
from lvlm_va.critique.optional_methods import chooses_judge, keeps_replies
from lvlm_va.critique.parser_judge import ParserJudge
from lvlm_va.critique.recorded_critic import RecordedCritic
from lvlm_va.critique.table_critic import TableCritic
from lvlm_va.critique.tiny.critic import TinyCritic
from lvlm_va.critique.types import Critic, Judge

# Critics that no string can describe, and how to make one.
_NEEDS_ARGUMENTS = {
    "oracle": "OracleCritic(masks), with ground-truth masks of shape (n, H, W)",
    "region": "RegionCritic({'irrelevant': ['corners']})",
}
# Critics that are a file.
_FILES: dict[str, Callable[[str], Critic]] = {"recorded": RecordedCritic, "table": TableCritic}
_MODELS = ("hf", "openai", "anthropic", "folder", "http", "https")


def resolve_critic(
    spec: Critic | Mapping[Any, Any] | str | None,
    *,
    allow_remote: bool = False,
    budget: Budget | None = None,
    **batches: Any,
) -> Critic | None:
    """Return the critic that `spec` describes.

    Parameters
    ----------
    spec : None, str, mapping or critic
        None for no critic; ``"tiny"`` for the model that ships with the package; ``"hf:FOLDER"``, ``"openai:MODEL"``,
        ``"anthropic:MODEL"``, ``"folder:PATH"`` or ``"http://HOST/v1#MODEL"`` for an `LVLMCritic` that asks this
        model; ``"table:PATH"`` for a `TableCritic`, ``"recorded:PATH"`` for a `RecordedCritic`; a mapping for
        `lvlm_va.critique.families.FamilyVerdicts`; or an object with a
        ``name`` and a ``critique`` method, returned as it is.
    allow_remote : bool, default=False
        Whether a model named here may be on another machine.
    budget : Budget or None, default=None
        Limits of a model named here.
    **batches
        ``batch``, ``batch_wait`` and ``batch_poll`` of a model named here, as in `LVLMCritic`.

    Returns
    -------
    Critic or None
        The critic.

    Raises
    ------
    TypeError
        If `spec` is none of these.
    ValueError
        If the name is unknown, or names a critic that needs arguments.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        return _from_string(spec, allow_remote, budget, batches)
    if isinstance(spec, Mapping):
        return FamilyVerdicts(spec)
    if isinstance(spec, type):
        raise TypeError(
            f"The 'critic' argument must be an object. Got the class {spec.__name__}; call it to make one."
        )
    if not callable(getattr(spec, "critique", None)) or not isinstance(getattr(spec, "name", None), str):
        raise TypeError(
            "The 'critic' argument must be None, text such as 'table:PATH' or 'hf:FOLDER', a mapping, or an object "
            f"with a 'name' and a 'critique(requests)' method. Got {type(spec).__name__} instead."
        )
    return spec


def resolve_judge(
    spec: Judge | str | None,
    critic: Critic | None,
    *,
    allow_remote: bool = False,
    budget: Budget | None = None,
    **batches: Any,
) -> Judge | None:
    """Return the judge that `spec` describes.

    Parameters
    ----------
    spec : None, str or judge
        None for the critic's own choice, if it has a ``judge_for``: an `LVLMCritic` whose prompt asks for verdicts,
        as the default one does, takes a `ParserJudge`; ``"parser"`` for a `ParserJudge`; the name of a model,
        as for a critic, for an `LLMJudge`, which shares the critic's model where it is the same; or an object with a
        ``name`` and a ``judge`` method, returned as it is.
    critic : Critic or None
        Whose critiques are judged.
    allow_remote, budget : bool, Budget or None
        As in `resolve_critic`.
    **batches
        Likewise.

    Returns
    -------
    Judge or None
        The judge.

    Raises
    ------
    TypeError, ValueError
        If `spec` is none of these, or None where the critic's prompt asks for no verdicts.
    """
    if spec is None:
        return critic.judge_for(None) if chooses_judge(critic) else None
    if isinstance(spec, str):
        kind, _, argument = spec.partition(":")
        if spec == "parser":
            return ParserJudge()
        _check_model("judge", kind, argument, spec, ["parser"])
        own = critic.judge_for(spec) if chooses_judge(critic) else None
        return LLMJudge(spec, allow_remote=allow_remote, budget=budget, **batches) if own is None else own
    if isinstance(spec, type):
        raise TypeError(
            f"The 'judge' argument must be an object. Got the class {spec.__name__}; call it to make one."
        )
    if not callable(getattr(spec, "judge", None)) or not isinstance(getattr(spec, "name", None), str):
        raise TypeError(
            "The 'judge' argument must be None, 'parser', text such as 'hf:FOLDER', or an object with a 'name' and a "
            f"'judge(critiques, n_segments)' method. Got {type(spec).__name__} instead."
        )
    return spec


def resolve_critic_and_judge(
    critic: Critic | Mapping[Any, Any] | str | None,
    judge: Judge | str | None,
    run_dir: str | os.PathLike[str] | None,
) -> tuple[Critic | None, Judge | None]:
    """Return who judges; models keep their replies and a record of all exchanges in the run directory."""
    resolved = resolve_critic(critic)
    if run_dir is not None and keeps_replies(resolved):
        resolved = resolved.kept_in(run_dir)
    reader = resolve_judge(judge, resolved)
    if run_dir is not None and keeps_replies(reader):
        reader = reader.kept_in(run_dir)
    return resolved, reader


def _from_string(spec: str, allow_remote: bool, budget: Budget | None, batches: Mapping[str, Any]) -> Critic:
    kind, _, argument = spec.partition(":")
    if kind in _NEEDS_ARGUMENTS:
        raise ValueError(
            f"The 'critic' argument must be an object where the critic needs arguments. Got {spec!r} "
            f"instead. Pass lvlm_va.critique.{_NEEDS_ARGUMENTS[kind]}."
        )
    if spec == "tiny":
        return TinyCritic()
    if kind in _FILES:
        if not argument:
            raise ValueError(
                f"The 'critic' argument must name the file: '{kind}:PATH'. Got {spec!r} instead."
            )
        return _FILES[kind](argument)
    _check_model("critic", kind, argument, spec, [*_FILES, "tiny", *_NEEDS_ARGUMENTS])
    return LVLMCritic(spec, allow_remote=allow_remote, budget=budget, **batches)


def _check_model(who: str, kind: str, argument: str, spec: str, others: list[str]) -> None:
    kinds = {*_MODELS, *(point.name for point in entry_points(group="lvlm_va.backends"))}
    if kind not in kinds:
        raise unknown_name(who, kind, [*others, *kinds])
    if not argument:
        raise ValueError(f"The {who!r} argument must name the model: '{kind}:MODEL'. Got {spec!r} instead.")

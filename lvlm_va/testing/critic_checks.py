"""What a critic promises, tried out."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lvlm_va.backends import Estimate, Prices
from lvlm_va.critique import (
    Critic,
    Critique,
    CritiqueRequest,
    Judge,
    check_critiques,
    collect_critiques,
    judge_critiques,
    read_critiques,
    resolve_critic,
    resolve_judge,
)
from lvlm_va.critique.optional_methods import (
    bounds_critiques,
    chooses_judge,
    estimates_critiques,
    hands_over,
    keeps_replies,
)
from lvlm_va.testing.critic_requests import critic_requests


def check_critic(
    critic: Critic | Callable[[], Critic],
    *,
    judge: Judge | None = None,
    requests: Sequence[CritiqueRequest] | None = None,
) -> Critic:
    """Raise unless a critic keeps what :class:`~lvlm_va.critique.Critic` promises.

    Asked are a dozen requests: one segment and nine, segments of one pixel and of the whole image, other sizes,
    classes in other scripts, no description, a description that gives orders. Whether verdicts are right is not
    judged, nor whether the critic says the same twice. What it has of `lvlm_va.critique.optional_methods` is tried,
    too.

    Parameters
    ----------
    critic : Critic or callable
        The critic, or what makes one without arguments. Of a callable two are made, whose fingerprints must be equal.
    judge : Judge or None, default=None
        Who reads the critic's words. None takes the one that the estimator would.
    requests : sequence of CritiqueRequest or None, default=None
        What to ask instead, for critics that know only their own data. Each image must have a segment, and a name of
        its own.

    Returns
    -------
    Critic
        The critic that was checked.

    Raises
    ------
    AssertionError
        At the first promise that is broken; the message says which, and what came.

    Examples
    --------
    >>> from lvlm_va import RegionCritic
    >>> from lvlm_va.testing import check_critic
    >>> check_critic(RegionCritic({"irrelevant": ["corners"]})).name
    'region'
    """
    is_factory = isinstance(critic, type) or (callable(critic) and not hasattr(critic, "critique"))
    made: Any = critic() if is_factory else critic  # type: ignore[operator]
    asked = critic_requests() if requests is None else list(requests)
    _check_interface(made)
    before = _fingerprint(made)
    if is_factory:
        _require(
            _fingerprint(critic()) == before,  # type: ignore[operator]
            "'fingerprint' must be the same for two critics made alike. Got different ones.",
        )
    _check_copy(made, before)
    _check_estimates(made, asked)
    _check_hand_over(made, asked)
    critiques = _check_answers(made, asked)
    _check_verdicts(judge or resolve_judge(None, made), asked, critiques)
    _check_kept(made, asked)
    _check_kept_in(made, before, asked[:3])
    _require(_fingerprint(made) == before, "'fingerprint' must not change by use. Got another one after use.")
    return made  # type: ignore[no-any-return]


def _check_interface(critic: Any) -> None:
    try:
        resolve_critic(critic)
    except TypeError as error:
        raise AssertionError(f"An estimator takes no such critic: {error}") from error
    _require(bool(critic.name), f"'name' must be text that is not empty. Got {critic.name!r}.")
    reads = getattr(critic, "reads_descriptions", False)
    _require(isinstance(reads, bool), f"'reads_descriptions' must be true or false. Got {reads!r}.")


def _fingerprint(critic: Any) -> str:
    """Return the critic's fingerprint as JSON text, if it has one."""
    if not hasattr(critic, "fingerprint"):
        return ""
    first, second = critic.fingerprint(), critic.fingerprint()
    _require(first == second, f"'fingerprint' must not change. Got {first!r}, then {second!r}.")
    try:
        return json.dumps(first, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"'fingerprint' must return what JSON can hold. Got {first!r}, which raises: {error}"
        ) from error


def _check_copy(critic: Any, fingerprint: str) -> None:
    """Raise unless a copy, as `sklearn.base.clone` makes it, is the same critic."""
    try:
        again = copy.deepcopy(critic)
    except Exception as error:
        raise AssertionError(f"copy.deepcopy must give an equal critic. Got {error!r}.") from error
    _require(
        (again.name, _fingerprint(again)) == (critic.name, fingerprint),
        "copy.deepcopy must give a critic of the same name and fingerprint. Got another one.",
    )


def _check_estimates(critic: Any, requests: Sequence[CritiqueRequest]) -> None:
    """Raise unless what a critic says of its answers beforehand can be reckoned with."""
    if estimates_critiques(critic):
        found = critic.estimate_critiques(list(requests), Prices(1.0, 1.0))
        _require(
            isinstance(found, Estimate) and found.cost is not None,
            f"'estimate_critiques' must return an Estimate, with a cost at these prices. Got {found!r}.",
        )
        none = critic.estimate_critiques([])
        _require(
            isinstance(none, Estimate) and none.requests == 0,
            f"'estimate_critiques' must return an Estimate of 0 requests for none. Got {none!r}.",
        )
    if bounds_critiques(critic):
        longest = critic.longest_critique(requests[0])
        _require(
            isinstance(longest, Critique) and longest.image_id == requests[0].image_id,
            f"'longest_critique' must return a Critique of the image. Got {longest!r}.",
        )
    if chooses_judge(critic):
        other = critic.judge_for("model:of-nobody")
        _require(
            other is None, f"'judge_for' must return None for another model than its own. Got {other!r}."
        )


def _check_hand_over(critic: Any, requests: Sequence[CritiqueRequest]) -> None:
    """Raise unless a critic that is to be asked by batches takes questions without answering them."""
    if not hands_over(critic):
        return
    for part in (list(requests), []):
        said = critic.hand_over_images(part)  # type: ignore[func-returns-value]
        _require(said is None, f"'hand_over_images' must return nothing. Got {said!r}.")


def _check_answers(critic: Any, requests: Sequence[CritiqueRequest]) -> list[Critique]:
    """Return the critiques of all requests, if they fit and asking leaves no other trace."""
    before = [_pixels(request) for request in requests]
    chance = _global_chance()
    critiques = _ask(critic, requests)
    _require(
        chance == _global_chance(),
        "'critique' must leave Python's and NumPy's global random state as it is. Draw from a generator of your own.",
    )
    for request, kept in zip(requests, before, strict=True):
        _require(
            _pixels(request) == kept,
            f"'critique' must not write into its requests. It did for image {request.image_id!r}.",
        )
    _require(_ask(critic, []) == [], "'critique' must return [] for no requests.")
    # Alone and in another order: an answer belongs to its request, not to its place.
    _ask(critic, requests[-1:])
    _ask(critic, requests[::-1])
    return critiques


def _pixels(request: CritiqueRequest) -> bytes:
    return request.image.tobytes() + request.segments.tobytes() + request.effect.tobytes()


def _global_chance() -> str:
    """Return text that stands for Python's and NumPy's global random states."""
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return f"{hash(random.getstate())} {state['pos']} {state['key'].tobytes().hex()}"


def _ask(critic: Any, requests: Sequence[CritiqueRequest]) -> list[Critique]:
    answers = critic.critique(list(requests))
    try:
        check_critiques(requests, answers)
    except (TypeError, ValueError) as error:
        raise AssertionError(str(error)) from error
    for critique in answers:
        _require(
            isinstance(critique.text, str),
            f"A critique's 'text' must be text. Got {critique.text!r} instead.",
        )
    return list(answers)


def _check_verdicts(
    judge: Judge | None, requests: Sequence[CritiqueRequest], critiques: Sequence[Critique]
) -> None:
    """Raise unless the critic, or the judge after it, reaches a verdict on every segment."""
    if judge is None:
        silent = [critique.image_id for critique in critiques if not critique.verdicts]
        _require(
            not silent,
            f"A critic without a judge must reach a verdict on every segment. Got none for the images {silent}. Pass "
            "judge=ParserJudge() if its text ends in lines such as 'Segment 1: spurious'.",
        )
        return
    try:
        judge_critiques(judge, critiques, [request.n_segments for request in requests])
    except (TypeError, ValueError) as error:
        raise AssertionError(str(error)) from error


def _check_kept(critic: Any, requests: Sequence[CritiqueRequest]) -> None:
    """Raise unless a run directory gives back the critiques that it was given."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "critiques.jsonl"
        ids = [request.image_id for request in requests]
        try:
            said = collect_critiques(
                critic, ids, lambda positions: [requests[i] for i in positions], path=path
            )
        except (TypeError, ValueError) as error:
            raise AssertionError(f"A critique must be kept as JSON. Got: {error}") from error
        kept = read_critiques(path)
    for critique in said:
        _require(
            not critique.answered or _plain(kept[critique.image_id]) == _plain(critique),
            f"A critique must read back from JSON as it was. Got another one for image {critique.image_id!r}.",
        )


def _check_kept_in(critic: Any, fingerprint: str, requests: Sequence[CritiqueRequest]) -> None:
    """Raise unless a critic that keeps replies in a folder is the same one, and says there the same again."""
    name = critic.name
    if not keeps_replies(critic):
        return
    _require(
        bool(fingerprint),
        "A critic with 'kept_in' must have a 'fingerprint', which no folder changes. Got none.",
    )
    with TemporaryDirectory() as folder:
        kept = critic.kept_in(folder)
        _require(
            getattr(kept, "name", None) == name and _fingerprint(kept) == fingerprint,
            f"'kept_in' must return a critic of the same name and fingerprint. Got {kept!r}.",
        )
        for first, again in zip(_ask(kept, requests), _ask(kept, requests), strict=True):
            _require(
                not first.answered or first == again,
                f"What a critic keeps it must say again. It did not for image {first.image_id!r}.",
            )


def _plain(critique: Critique) -> dict[str, Any]:
    return dataclasses.asdict(critique)


def _require(kept: bool, message: str) -> None:
    if not kept:
        raise AssertionError(message)

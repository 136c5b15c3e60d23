"""What a backend promises, tried out."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from lvlm_va.backends.request_json import request_to_json
from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.types import (
    Capabilities,
    ChatBackend,
    ChatFailure,
    ChatReply,
    ChatRequest,
    FailureKind,
    Finish,
    Usage,
)
from lvlm_va.testing.backend_requests import (
    bad_requests,
    choice_requests,
    image_requests,
    plain_requests,
    schema_request,
)

_SECRET_ENDINGS = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
# An allowance for servers that count what they add, and for a wrapper that asks once more with twice the tokens.
_TOKEN_SLACK = 4


def check_backend(
    backend: ChatBackend | Callable[[], ChatBackend], *, deterministic: bool = True
) -> ChatBackend:
    """Raise unless a backend keeps what :class:`~lvlm_va.backends.ChatBackend` promises.

    Asked are about 40 short requests with at most three small images of no meaning each; the model has to be there
    and to answer them. What it says is not judged.

    Parameters
    ----------
    backend : ChatBackend or callable
        The backend, or what makes one without arguments. Of a callable two are made, whose fingerprints must be
        equal.
    deterministic : bool, default=True
        Whether equal requests at temperature 0 get equal texts. False for models that cannot promise it, such
        as hosted ones: the order of replies is then checked only as far as they are held to choices.

    Returns
    -------
    ChatBackend
        The backend that was checked.

    Raises
    ------
    AssertionError
        At the first promise that is broken; the message says which, and what came.

    Examples
    --------
    >>> from lvlm_va.backends import ScriptedBackend
    >>> from lvlm_va.testing import check_backend
    >>> check_backend(ScriptedBackend(lambda request: "It is spurious."))
    ScriptedBackend(name='scripted')
    """
    # A class has the attributes of its objects, and an object may be callable for reasons of its own.
    makes = isinstance(backend, type) or (callable(backend) and not isinstance(backend, ChatBackend))
    given: Any = backend
    made: ChatBackend = given() if makes else given
    check_interface(made)
    fingerprint = check_fingerprint(made)
    if makes:
        again = given().fingerprint()
        _require(
            again == fingerprint,
            f"'fingerprint' must be the same for two backends made alike. Got {fingerprint!r} and {again!r}.",
        )
    check_outcomes(made, deterministic)
    check_images(made)
    check_isolation(made, deterministic)
    check_capabilities(made, deterministic)
    if hasattr(made, "complete_each"):
        check_stream(made, deterministic)
    after = made.fingerprint()
    _require(
        after == fingerprint,
        f"'fingerprint' must not change by use. Got {fingerprint!r} before and {after!r} after.",
    )
    return made


def check_interface(backend: object) -> None:
    """Raise unless name and capabilities are there and of the right types."""
    if not isinstance(backend, ChatBackend):
        missing = [n for n in ("name", "capabilities", "fingerprint", "complete") if not hasattr(backend, n)]
        raise AssertionError(f"A backend must have {missing}. Got a {type(backend).__name__} without.")
    _require(
        isinstance(backend.name, str) and bool(backend.name),
        f"'name' must be text that is not empty. Got {backend.name!r}.",
    )
    can = backend.capabilities
    _require(
        isinstance(can, Capabilities),
        f"'capabilities' must be a Capabilities object. Got {type(can).__name__}. If it is a method, make it a "
        "property.",
    )
    for field in dataclasses.fields(can):
        value = getattr(can, field.name)
        if field.name == "max_images":
            right, wanted = value is None or _is_count(value, 0), "None or a number, at least 0"
        elif field.name == "batch_size":
            right, wanted = _is_count(value, 1), "a number, at least 1"
        else:
            right, wanted = isinstance(value, bool), "True or False"
        _require(right, f"'capabilities.{field.name}' must be {wanted}. Got {value!r}.")


def check_fingerprint(backend: ChatBackend) -> str:
    """Return the fingerprint if it is text, stays the same and holds no secret."""
    first, second = backend.fingerprint(), backend.fingerprint()
    _require(
        isinstance(first, str) and bool(first),
        f"'fingerprint' must return text that is not empty. Got {first!r}.",
    )
    _require(first == second, f"'fingerprint' must not change. Got {first!r}, then {second!r}.")
    shown = {"name": backend.name, "fingerprint": first, "repr": repr(backend)}
    for variable, value in os.environ.items():
        if variable.endswith(_SECRET_ENDINGS) and len(value) >= 8:
            for place, text in shown.items():
                _require(value not in text, f"'{place}' must hold no secret. It holds that of {variable}.")
    return first


def check_outcomes(backend: ChatBackend, deterministic: bool) -> None:
    """Raise unless each request has its own well-formed outcome, and the requests stay as they were."""
    empty = backend.complete([])
    _require(
        isinstance(empty, list) and not empty, f"'complete' must return [] for no requests. Got {empty!r}."
    )
    requests = plain_requests(5)
    replies = _replies(backend, requests)
    _require(
        all(
            r.usage.output_tokens <= _TOKEN_SLACK * q.max_tokens
            for r, q in zip(replies, requests, strict=True)
        ),
        f"Replies must keep to 'max_tokens', {requests[0].max_tokens}. Got "
        f"{max(reply.usage.output_tokens for reply in replies)} tokens.",
    )
    if not deterministic:
        return
    texts = [reply.text for reply in replies]
    _equal(texts, [_replies(backend, [request])[0].text for request in requests], "alone and among others")
    reverse = [reply.text for reply in _replies(backend, requests[::-1])]
    _equal(
        texts, reverse[::-1], "in order and in reverse: one reply for each request, in the requests' order"
    )
    _equal(texts, [r.text for r in _replies(backend, tuple(requests))], "in a list and in a tuple")


def check_images(backend: ChatBackend) -> None:
    """Raise unless images are taken, as many as the backend says."""
    if backend.capabilities.max_images != 0:
        _replies(backend, image_requests(backend.capabilities.max_images))


def check_isolation(backend: ChatBackend, deterministic: bool) -> None:
    """Raise unless a request that cannot be answered fails as a value, and harms no other one."""
    good = plain_requests(2)
    alone = _replies(backend, good)
    for bad in bad_requests(backend):
        outcomes = _complete(backend, [good[0], bad, good[1]])
        failure = outcomes[1]
        _require(
            not (isinstance(failure, ChatFailure) and failure.stops),
            f"A request that cannot be answered must fail as 'bad_request'. Got {_short(failure)} for "
            f"{_short(bad)}, which would keep later requests from being sent.",
        )
        others = [outcomes[0], outcomes[2]]
        for outcome in others:
            _require(
                isinstance(outcome, ChatReply),
                f"A request that cannot be answered must not harm the others. Beside {_short(bad)}, which was "
                f"given {_short(failure)}, another one got {_short(outcome)}.",
            )
        if deterministic:
            texts = [o.text for o in others if isinstance(o, ChatReply)]
            _equal([reply.text for reply in alone], texts, "beside good and bad requests")


def check_capabilities(backend: ChatBackend, deterministic: bool) -> None:
    """Raise unless the backend does what it says that it can."""
    can = backend.capabilities
    if can.choices or can.choice_probs:
        requests = choice_requests(can.choice_probs)
        for request, reply in zip(requests, _replies(backend, requests), strict=True):
            choices = request.choices or ()
            if can.choices:
                _require(
                    reply.text in choices,
                    f"With 'capabilities.choices', a reply must be one of {choices}. Got {reply.text!r}.",
                )
            if can.choice_probs:
                _check_probs(choices, reply.choice_probs)
    if can.schema:
        (reply,) = _replies(backend, [schema_request()])
        _require(
            reply.finish != "stop" or _is_json_object(reply.text),
            f"With 'capabilities.schema', a reply must follow the schema. Got {reply.text!r}.",
        )
    if can.seed and can.temperature and deterministic:
        (request,) = plain_requests(1)
        request = dataclasses.replace(request, temperature=1.0, seed=7)
        first, second = (_replies(backend, [request])[0].text for _ in range(2))
        _require(
            first == second,
            f"With 'capabilities.seed', equal seeds must give equal texts. Got {first!r} and {second!r}.",
        )


def check_stream(backend: Any, deterministic: bool) -> None:
    """Raise unless ``complete_each`` yields each request's outcome once, and can be left early."""
    nothing = list(backend.complete_each([]))
    _require(not nothing, f"'complete_each' must yield nothing for no requests. Got {nothing!r}.")
    requests = plain_requests(5)
    stream = backend.complete_each(requests)
    _require(
        hasattr(stream, "__next__") and hasattr(stream, "close"),
        f"'complete_each' must return a generator. Got {type(stream).__name__}.",
    )
    outcomes: dict[int, Outcome] = {}
    for pair in stream:
        _require(
            isinstance(pair, tuple) and len(pair) == 2 and _is_count(pair[0], 0) and pair[0] < len(requests),
            f"'complete_each' must yield pairs of a position below {len(requests)} and an outcome. Got {pair!r}.",
        )
        position, outcome = pair
        _require(
            position not in outcomes, f"'complete_each' must yield position {position} once. Got it twice."
        )
        _check_outcome(outcome)
        _require(
            isinstance(outcome, ChatReply),
            f"'complete_each' must answer {_short(requests[position])}. Got {_short(outcome)}.",
        )
        outcomes[position] = outcome
    _require(
        len(outcomes) == len(requests),
        f"'complete_each' must yield all {len(requests)} positions unless a failure stops it. Got "
        f"{sorted(outcomes)}.",
    )
    if deterministic:
        streamed = [outcomes[i].text for i in range(len(requests))]  # type: ignore[union-attr]
        texts = [reply.text for reply in _replies(backend, requests)]
        _equal(texts, streamed, "by 'complete' and by 'complete_each'")
    left = backend.complete_each(requests)
    next(left)
    left.close()
    _replies(backend, requests[:1])


def _replies(backend: ChatBackend, requests: Sequence[ChatRequest]) -> list[ChatReply]:
    """Return what came of requests that every model can answer."""
    replies = []
    for request, outcome in zip(requests, _complete(backend, requests), strict=True):
        if not isinstance(outcome, ChatReply):
            raise AssertionError(f"{_short(request)} must be answered. Got {_short(outcome)}.")
        replies.append(outcome)
    return replies


def _complete(backend: ChatBackend, requests: Sequence[ChatRequest]) -> list[Outcome]:
    before = [request_to_json(request) for request in requests]
    kept = list(requests)
    try:
        outcomes = backend.complete(requests)
    except Exception as error:
        raise AssertionError(
            f"'complete' must return a ChatFailure where a request fails, not raise. Got {type(error).__name__}: "
            f"{error}, for {', '.join(map(_short, kept))}."
        ) from error
    _require(isinstance(outcomes, list), f"'complete' must return a list. Got {type(outcomes).__name__}.")
    _require(
        len(outcomes) == len(kept),
        f"'complete' must return one outcome per request. Got {len(outcomes)} for {len(kept)} requests.",
    )
    for outcome in outcomes:
        _check_outcome(outcome)
    unchanged = len(requests) == len(kept) and all(a is b for a, b in zip(requests, kept, strict=True))
    _require(unchanged, "'complete' must leave the list of requests as it was. It was changed.")
    # Digests of images are computed once and kept, so ask for new ones.
    after = [request_to_json(_fresh(request)) for request in kept]
    _require(before == after, "'complete' must leave requests and images as they were. One was changed.")
    return outcomes


def _check_outcome(outcome: object) -> None:
    if isinstance(outcome, ChatFailure):
        kinds = get_args(FailureKind)
        _require(outcome.kind in kinds, f"A failure's 'kind' must be one of {kinds}. Got {outcome.kind!r}.")
        _require(
            isinstance(outcome.message, str), f"A failure's 'message' must be text. Got {outcome.message!r}."
        )
        wait = outcome.retry_after
        _require(
            wait is None or (isinstance(wait, int | float) and wait >= 0),
            f"A failure's 'retry_after' must be None or seconds, not negative. Got {wait!r}.",
        )
        return
    if not isinstance(outcome, ChatReply):
        raise AssertionError(f"An outcome must be a ChatReply or a ChatFailure. Got {outcome!r}.")
    for name in ("text", "model", "reply_id"):
        value = getattr(outcome, name)
        _require(isinstance(value, str), f"A reply's '{name}' must be text. Got {value!r}.")
    finishes = get_args(Finish)
    _require(
        outcome.finish in finishes, f"A reply's 'finish' must be one of {finishes}. Got {outcome.finish!r}."
    )
    usage = outcome.usage
    _require(
        isinstance(usage, Usage) and _is_count(usage.input_tokens, 0) and _is_count(usage.output_tokens, 0),
        f"A reply's 'usage' must be a Usage with numbers, not negative. Got {usage!r}.",
    )


def _check_probs(choices: Sequence[str], probs: Mapping[str, float] | None) -> None:
    right = (
        isinstance(probs, Mapping)
        and set(probs) == set(choices)
        and all(0 <= p <= 1 for p in probs.values())
        and math.isclose(sum(probs.values()), 1, abs_tol=1e-3)
    )
    _require(
        right,
        "With 'capabilities.choice_probs', a reply must hold a probability for each of "
        f"{tuple(choices)}, with sum 1. Got {probs!r}.",
    )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _fresh(request: ChatRequest) -> ChatRequest:
    turns = tuple(
        dataclasses.replace(
            turn, parts=tuple(p if isinstance(p, str) else dataclasses.replace(p) for p in turn.parts)
        )
        for turn in request.turns
    )
    return dataclasses.replace(request, turns=turns)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _equal(expected: list[str], texts: list[str], where: str) -> None:
    _require(
        expected == texts,
        f"At temperature 0, requests must get the same texts {where}. Got {expected} and {texts}. If the model cannot "
        "promise that, pass deterministic=False.",
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _require(right: bool, message: str) -> None:
    if not right:
        raise AssertionError(message)

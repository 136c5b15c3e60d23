"""The checks for anybody's backend: ours pass, and whoever breaks a promise is told which."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lvlm_va.backends import (
    AnthropicBackend,
    Budget,
    CachedBackend,
    Capabilities,
    ChatFailure,
    ChatReply,
    HFBackend,
    OpenAIBackend,
    RecordingBackend,
    ScriptedBackend,
    Usage,
    wrap_backend,
)
from lvlm_va.testing import check_backend
from tests.backends.inner import reply
from tests.serving import Answer, FaultServer

CHOICES = Capabilities(choices=True, choice_probs=True)


def obey(request) -> ChatReply:
    """Answer with what was asked for: the first choice, JSON, or the text."""
    if request.choices:
        probs = {choice: 1 / len(request.choices) for choice in request.choices}
        return reply(request.choices[0], choice_probs=probs if request.want_choice_probs else None)
    return reply(repr([part for turn in request.turns for part in turn.parts if isinstance(part, str)]))


class Good:
    """A backend that keeps its promises."""

    name = "good"
    capabilities = Capabilities()

    def __init__(self, mark="good-1"):
        self.mark = mark

    def fingerprint(self):
        return self.mark

    def complete(self, requests):
        return [obey(request) for request in requests]


class Streaming(Good):
    """One that hands over the last reply first."""

    def complete_each(self, requests):
        for position in reversed(range(len(requests))):
            yield position, obey(requests[position])


def json_where_asked(asked) -> Answer:
    wanted = {"response_format", "output_config"} & set(asked.body)
    return Answer('{"number": 0}' if wanted else None)


def test_models_in_this_process_pass(any_folder):
    check_backend(lambda: HFBackend(any_folder, batch_size=3))


def test_scripts_pass():
    check_backend(ScriptedBackend(obey, capabilities=CHOICES))
    check_backend(ScriptedBackend({"": "Yes."}, capabilities=Capabilities(max_images=0)))
    check_backend(Streaming())


def test_wrappers_pass(tmp_path):
    inner = ScriptedBackend(obey, capabilities=CHOICES)
    check_backend(wrap_backend(inner, cache=tmp_path / "c", budget=Budget(), record=tmp_path / "r"))
    check_backend(CachedBackend(Streaming(), tmp_path / "d"))
    check_backend(RecordingBackend(Good(), tmp_path / "s"))


@pytest.mark.parametrize(("kind", "address"), [(OpenAIBackend, "url"), (AnthropicBackend, "root")])
def test_servers_pass(kind, address):
    with FaultServer(json_where_asked) as server:
        url = getattr(server, address)
        check_backend(lambda: kind("m", base_url=url))
        check_backend(wrap_backend(kind("m", base_url=url)), deterministic=False)


def test_the_backend_comes_back():
    backend = Good()
    assert check_backend(backend) is backend
    assert isinstance(check_backend(Good), Good)
    called = Bad()
    called.__class__ = type("Called", (Bad,), {"__call__": lambda self: 1 / 0})
    assert check_backend(called) is called


class Bad(Good):
    """A backend with one promise broken."""

    def __init__(self, complete=None, **attributes):
        super().__init__()
        if complete is not None:
            right = self.complete
            self.complete = lambda requests: complete(right, requests)
        for name, value in attributes.items():
            setattr(self, name, value)


def each(change):
    """Return a way to complete that changes every reply."""
    return lambda right, requests: [change(outcome) for outcome in right(requests)]


def paint(right, requests):
    for request in requests:
        for image in request.images:
            if image.array.flags.writeable:
                image.array[0, 0] = 0
    return right(requests)


def raise_for_bad(right, requests):
    if any(not request.turns[-1].parts for request in requests):
        raise IndexError("no parts")
    return right(requests)


def fail_all_with_a_bad_one(right, requests):
    if any(not request.turns[-1].parts for request in requests):
        return [ChatFailure("bad_request", "one is bad")] * len(requests)
    return right(requests)


def no_images(right, requests):
    return [
        ChatFailure("bad_request", "no images") if request.images else outcome
        for request, outcome in zip(requests, right(requests), strict=True)
    ]


def only_writeable(right, requests):
    for request in requests:
        for image in request.images:
            if not image.array.flags.writeable:
                return [ChatFailure("malformed", "read-only")] * len(requests)
    return right(requests)


def consume(right, requests):
    outcomes = right(requests)
    if isinstance(requests, list):
        requests.reverse()
    return outcomes


def auth_for_bad(right, requests):
    return [ChatFailure("auth", "?") if not r.turns[-1].parts else obey(r) for r in requests]


def stream(positions):
    return lambda requests: ((i, obey(requests[i])) for i in positions if requests)


counter = iter(range(10**6))
BAD = {
    "no interface": (
        object(),
        "must have .*'name', 'capabilities', 'fingerprint', 'complete'.* Got a object",
    ),
    "name": (Bad(name=""), "'name' must be text that is not empty. Got ''"),
    "capabilities method": (Bad(capabilities=lambda: 1), "If it is a method, make it a property"),
    "capabilities type": (
        Bad(capabilities=Capabilities(seed="yes")),
        "'capabilities.seed' must be True or False",
    ),
    "batch size": (
        Bad(capabilities=Capabilities(batch_size=0)),
        "batch_size' must be a number, at least 1. Got 0",
    ),
    "max images": (Bad(capabilities=Capabilities(max_images=-1)), "max_images' must be None or a number"),
    "fingerprint type": (
        Bad(fingerprint=lambda: 5),
        "'fingerprint' must return text that is not empty. Got 5",
    ),
    "fingerprint changes": (
        Bad(fingerprint=lambda: str(next(counter))),
        "'fingerprint' must not change. Got '0'",
    ),
    "factory": (lambda: Good(str(random.random())), "must be the same for two backends made alike"),
    "not a list": (
        Bad(lambda right, r: tuple(right(r)) if r else []),
        "'complete' must return a list. Got tuple",
    ),
    "empty": (Bad(lambda right, r: right(r) or None), r"must return \[\] for no requests. Got None"),
    "too few": (Bad(lambda right, r: right(r)[:1]), "one outcome per request. Got 1 for 5"),
    "order": (Bad(lambda right, r: right(r)[::-1]), "same texts alone and among others"),
    "sorted": (
        Bad(lambda right, r: sorted(right(r), key=lambda o: len(o.text)), capabilities=CHOICES),
        "in order and in reverse: one reply for each request",
    ),
    "random": (Bad(each(lambda o: replace(o, text=str(random.random())))), "pass deterministic=False"),
    "no outcome": (Bad(each(lambda o: o.text)), "must be a ChatReply or a ChatFailure. Got "),
    "text": (Bad(each(lambda o: replace(o, text=None))), "A reply's 'text' must be text. Got None"),
    "finish": (
        Bad(each(lambda o: replace(o, finish="eos"))),
        "'finish' must be one of .*'refusal'.* Got 'eos'",
    ),
    "usage": (Bad(each(lambda o: replace(o, usage=Usage(-1, 0)))), "'usage' must be a Usage with numbers"),
    "talks on": (
        Bad(each(lambda o: replace(o, usage=Usage(5, 500)))),
        "must keep to 'max_tokens', 12. Got 500",
    ),
    "fails": (Bad(each(lambda o: ChatFailure("server", "down"))), "must be answered. Got ChatFailure.*down"),
    "failure kind": (Bad(each(lambda o: ChatFailure("oops", "?"))), "'kind' must be one of .* Got 'oops'"),
    "failure wait": (
        Bad(each(lambda o: ChatFailure("server", "?", -1))),
        "'retry_after' must be None or seconds",
    ),
    "raises": (
        Bad(raise_for_bad),
        "must return a ChatFailure where a request fails, not raise. Got IndexError: no",
    ),
    "not isolated": (Bad(fail_all_with_a_bad_one), "must not harm the others. Beside .*one is bad"),
    "fatal": (Bad(auth_for_bad), "must fail as 'bad_request'. Got ChatFailure.*auth"),
    "no images": (Bad(no_images), "must be answered. Got ChatFailure.*no images"),
    "read-only": (Bad(only_writeable), "must be answered. Got ChatFailure.*read-only"),
    "paints": (Bad(paint), "must leave requests and images as they were"),
    "reorders": (Bad(consume), "must leave the list of requests as it was"),
    "choices": (
        Bad(each(lambda o: replace(o, text="Well.")), capabilities=Capabilities(choices=True)),
        "With 'capabilities.choices', a reply must be one of .*'spurious'.* Got 'Well.'",
    ),
    "no probabilities": (
        Bad(each(lambda o: replace(o, choice_probs=None)), capabilities=CHOICES),
        "must hold a probability for each of .* Got None",
    ),
    "probabilities": (
        Bad(
            each(lambda o: replace(o, choice_probs=dict.fromkeys(o.choice_probs or (), 0.1))),
            capabilities=CHOICES,
        ),
        "with sum 1. Got {'spurious': 0.1",
    ),
    "schema": (
        Bad(capabilities=Capabilities(schema=True)),
        "'capabilities.schema', a reply must follow the schema",
    ),
    "seed": (
        Bad(
            lambda right, r: [
                replace(o, text=str(random.random())) if q.temperature else o
                for q, o in zip(r, right(r), strict=True)
            ],
            capabilities=Capabilities(temperature=True, seed=True),
        ),
        "equal seeds must give equal texts",
    ),
    "stream of nothing": (
        Bad(complete_each=lambda r: iter([(0, reply())])),
        "must yield nothing for no requests",
    ),
    "stream as list": (
        Bad(complete_each=lambda r: [(i, obey(q)) for i, q in enumerate(r)]),
        "return a generator",
    ),
    "stream pairs": (
        Bad(complete_each=lambda r: (obey(q) for q in r)),
        "pairs of a position below 5 and an outcome",
    ),
    "stream twice": (Bad(complete_each=stream([0, 0])), "must yield position 0 once. Got it twice"),
    "stream short": (Bad(complete_each=stream([3, 1])), r"must yield all 5 positions .* Got \[1, 3\]"),
    "stream mixed": (
        Bad(complete_each=lambda r: ((len(r) - 1 - i, obey(q)) for i, q in enumerate(r))),
        "same texts by 'complete' and by 'complete_each'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_promise_is_named(case):
    backend, message = BAD[case]
    with pytest.raises(AssertionError, match=message):
        check_backend(backend)


def test_fingerprints_must_not_follow_use():
    backend = ScriptedBackend(obey)
    backend.fingerprint = lambda: str(len(backend.requests))
    with pytest.raises(AssertionError, match="must not change by use. Got '0' before"):
        check_backend(backend)


def test_secrets_must_not_show(monkeypatch):
    monkeypatch.setenv("SHINY_API_KEY", "a-long-secret")
    with pytest.raises(
        AssertionError, match="'fingerprint' must hold no secret. It holds that of SHINY_API_KEY"
    ):
        check_backend(Good(mark="m-a-long-secret"))


def test_a_model_that_varies_passes_when_it_says_so():
    check_backend(ScriptedBackend(lambda request: str(random.random())), deterministic=False)

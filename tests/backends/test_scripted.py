"""Replies that were written beforehand."""

import copy

import pytest

from lvlm_va.backends import Capabilities, ChatFailure, ChatReply, ScriptedBackend
from tests.backends.inner import ask, kinds, text_of, texts

LIMIT = ChatFailure("rate_limit", "Slow down.", 2.0)


def test_a_callable_sees_the_request():
    backend = ScriptedBackend(lambda request: text_of(request).upper())
    assert texts(backend.complete([ask("a"), ask("b")])) == ["A", "B"]
    assert [text_of(request) for request in backend.requests] == ["a", "b"]


def test_a_mapping_answers_by_what_occurs_first_in_it():
    reply = ChatReply("No.", "other", "refusal")
    backend = ScriptedBackend({"segment 1": "spurious", "segment": reply, "busy": LIMIT})
    outcomes = backend.complete([ask("segment 2"), ask("segment 1"), ask("busy"), ask("else")])
    assert outcomes[:3] == [reply, ChatReply("spurious", "scripted"), LIMIT]
    assert outcomes[3] == ChatFailure("bad_request", "The script has no reply to this request.")


def test_a_sequence_is_given_out_in_order_over_calls():
    backend = ScriptedBackend(["one", LIMIT, "three"])
    assert texts(backend.complete([ask(), ask()])) == ["one", "rate_limit"]
    outcomes = copy.deepcopy(backend).complete([ask(), ask()])
    assert kinds(outcomes) == ["reply", "bad_request"]
    assert outcomes[1].message == "The script ends after 3 replies."


def test_the_fingerprint_is_of_the_script():
    scripts = [["a"], ["b"], {"a": "b"}, {"a": LIMIT}, lambda request: "a", lambda request: "b"]
    prints = [ScriptedBackend(script).fingerprint() for script in scripts]
    assert len(set(prints)) == len(scripts)
    assert prints[0] == ScriptedBackend(["a"]).fingerprint() != ScriptedBackend(["a"], name="x").fingerprint()


def test_name_and_capabilities_are_as_told():
    able = Capabilities(max_images=0, per_segment=True)
    backend = ScriptedBackend(["a"], name="mine", capabilities=able)
    assert (backend.name, backend.capabilities, repr(backend)) == (
        "mine",
        able,
        "ScriptedBackend(name='mine')",
    )
    assert backend.complete([ask()])[0].model == "mine"


@pytest.mark.parametrize("replies", ["text", 5, None])
def test_a_script_of_another_kind_is_refused(replies):
    with pytest.raises(TypeError, match="'replies' argument must be a callable, a mapping or a sequence"):
        ScriptedBackend(replies)


def test_errors_of_a_script_are_seen():
    with pytest.raises(TypeError, match="A scripted reply must be a text.* Got NoneType"):
        ScriptedBackend(lambda request: None).complete([ask()])
    with pytest.raises(ZeroDivisionError):
        ScriptedBackend(lambda request: 1 / 0).complete([ask()])

"""The estimator with models as critic and judge: by name and as objects, kept, stopped, resumed, estimated."""

from __future__ import annotations

import socket

import pytest
from sklearn.base import clone

from lvlm_va import LVLMVAClassifier, RightReasonsScorer
from lvlm_va.backends import ChatFailure, Prices, ScriptedBackend, read_exchanges
from lvlm_va.critique import (
    BehaviourWriter,
    CriticPrompt,
    JudgeExample,
    LLMJudge,
    LVLMCritic,
    ModelStoppedError,
    ParserJudge,
    RegionRenderer,
)
from lvlm_va.segmentation import Grid
from tests.critique.scripted import SPECIFICATIONS, Scripted, last_question, verdict_lines
from tests.serving import Answer, FaultServer

SMALL = RegionRenderer(size=64)
N = 6


def make(critic, **parameters) -> LVLMVAClassifier:
    defaults = {"module": "mlp", "n_align": N, "epochs": 1, "align_epochs": 1, "random_state": 0}
    defaults["specifications"] = SPECIFICATIONS
    return LVLMVAClassifier(**{**defaults, "critic": critic, **parameters})


def lvlm(answer, **options):
    return LVLMCritic(Scripted(answer), renderer=SMALL, per_segment=False, **options)


def spurious(request, number):
    return "It covers the tag.\n" + verdict_lines(last_question(request), "spurious")


def test_a_server_by_its_address_is_asked_once_for_each_image(blobs, tmp_path):
    def say(asked):
        return Answer("Segment 1 covers the tag.\n" + verdict_lines(asked.text, "spurious"))

    with FaultServer(say) as server:
        parameters = {"run_dir": tmp_path / "run", "specifications": SPECIFICATIONS}
        parameters |= {"n_align": 2, "segmenter": Grid(1, 2)}
        clf = make(f"{server.url}#any", **parameters).fit(*blobs)
        assert len(server.asked) == 2
        assert all(len(asked.images) == 2 for asked in server.asked)
        assert {verdict.status for verdict in clf.verdicts_.verdicts} == {"line"}
        assert clf.verdicts_.counts()["spurious"] == len(clf.verdicts_.verdicts) > 0
        assert clf.masks_.any(axis=(1, 2)).all()

        again = make(f"{server.url}#any", **parameters).fit(*blobs)
        assert again.verdicts_ == clf.verdicts_
        for path in (tmp_path / "run").glob("critiques-*"):
            path.unlink()
        make(f"{server.url}#any", **parameters).fit(*blobs)  # from the cache of replies
        assert len(server.asked) == 2
        assert "the left half" in "".join(asked.text for asked in server.asked)
    exchanges = read_exchanges(tmp_path / "run" / "exchanges.jsonl")
    assert [exchange["reply"]["cached"] for exchange in exchanges] == [False, False, True, True]


@pytest.mark.parametrize("models", [{"critic": "openai:any"}, {"critic": "http://192.0.2.1/v1#any"},
                                    {"critic": lvlm(spurious), "judge": "openai:any"}])  # fmt: skip
def test_nothing_leaves_this_machine_unasked(blobs, monkeypatch, models):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setattr(socket.socket, "connect", None)
    clf = make(**models)
    with pytest.raises(ValueError, match="'allow_remote' argument"):
        clf.fit(*blobs)
    assert not hasattr(clf, "module_")


def test_another_judge_reads_what_the_critic_said_before(blobs, tmp_path):
    critic = lvlm(spurious)
    make(critic, run_dir=tmp_path).fit(*blobs)
    judge = LLMJudge(
        ScriptedBackend(lambda request: "Segment 1: relevant"), (JudgeExample("A tag.", "spurious"),)
    )
    clf = make(critic, judge=judge, run_dir=tmp_path).fit(*blobs)
    assert len(critic.backend.asked) == N
    assert clf.verdicts_.examples == judge.examples
    assert {v.verdict for v in clf.verdicts_.verdicts if v.segment == 1} == {"relevant"}
    assert {v.status for v in clf.verdicts_.verdicts if v.segment > 1} <= {"missing"}
    assert not clf.masks_.any()


def test_a_model_that_stops_is_named_and_what_it_said_is_kept(blobs, tmp_path):
    stop = ChatFailure("quota", "Your credit is used up.")
    critic = lvlm(lambda request, i: spurious(request, i) if i < 4 else stop)
    with pytest.raises(ModelStoppedError, match="scripted.*quota.*credit"):
        make(critic, run_dir=tmp_path).fit(*blobs)
    goes_on = lvlm(spurious)
    make(goes_on, run_dir=tmp_path).fit(*blobs)
    assert len(goes_on.backend.asked) == N - 4


def test_one_image_without_an_answer_is_not_masked_and_harms_no_other(blobs):
    failure = ChatFailure("bad_request", "too large")
    critic = lvlm(lambda request, i: failure if i == 1 else spurious(request, i))
    clf = make(critic).fit(*blobs)
    failed = [v.status == "failed" for v in clf.verdicts_.verdicts]
    assert {v.image_id for v, bad in zip(clf.verdicts_.verdicts, failed, strict=True) if bad} == {
        clf.critiques_[1].image_id
    }
    assert clf.masks_.any(axis=(1, 2)).tolist() == [True, False, True, True, True, True]


def test_a_critic_that_only_speaks_needs_a_judge(blobs):
    asked = []

    class Speaker:
        name = "speaker"

        def critique(self, requests):
            asked.extend(requests)
            return lvlm(spurious).critique(requests)

    with pytest.raises(ValueError, match="needs a judge: judge='parser'"):
        make(Speaker(), n_align=40).fit(*blobs)
    assert len(asked) == 16  # not all 40: the first chunk tells
    assert make(Speaker(), judge="parser").fit(*blobs).verdicts_.counts()["spurious"]
    assert make(Speaker(), judge=ParserJudge()).fit(*blobs).verdicts_.counts()["spurious"]


@pytest.mark.parametrize(
    ("critic", "why"),
    [
        ("tiny", "Nothing was said of what should count for class"),
        (lvlm("It covers the tag."), "status 'none'.*It covers the tag"),
    ],
)
def test_verdicts_of_which_none_is_decided_are_warned_of(blobs, critic, why):
    described = None if critic == "tiny" else SPECIFICATIONS
    with pytest.warns(UserWarning, match=rf"All \d+ verdicts of the critic are 'unsure'.*{why}") as said:
        clf = make(critic, n_align=2, specifications=described).fit(*blobs)
    assert {warning.filename for warning in said} == {__file__}
    make(critic, n_align=2, specifications=described).estimate_cost(
        *blobs
    )  # asks nobody, and warns of nothing
    clf.realign(clf.verdicts_.replace(clf.verdicts_.verdicts))  # nor does a person who is unsure
    with pytest.warns(UserWarning, match="are 'unsure'") as said:
        RightReasonsScorer.from_critic(clf, *blobs)
    assert {warning.filename for warning in said} == {__file__}


def test_a_prompt_that_asks_for_no_verdicts_needs_a_judge_that_is_a_model(blobs):
    critic = lvlm("It covers the tag.", prompt=CriticPrompt("Look.", "{segments} {description}"))
    with pytest.raises(ValueError, match="'judge' argument must name a language model.*asks for no verdicts"):
        make(critic).fit(*blobs)
    assert critic.backend.asked == []
    judge = LLMJudge(Scripted("Segment 1: spurious"))
    assert make(critic, judge=judge).fit(*blobs).verdicts_.counts()["spurious"]
    told = CriticPrompt("Say 'Segment 1: spurious' or so.", "{segments} {description}")
    assert make(lvlm("Segment 1: spurious", prompt=told)).fit(*blobs).verdicts_.counts()["spurious"]


def test_what_it_would_cost_is_known_before_anything_is_sent(blobs, tmp_path):
    critic = lvlm(spurious, max_tokens=100)
    judge = LLMJudge(ScriptedBackend(lambda request: "Segment 1: relevant"), max_tokens=50)
    clf = make(critic, judge=judge, run_dir=tmp_path)
    prices = Prices(1.0, 1e6)
    cost = clf.estimate_cost(*blobs, prices=prices)
    assert critic.backend.asked == judge.backend.requests == []
    assert not hasattr(clf, "module_")
    clf.fit(*blobs)
    n_segments = len(clf.verdicts_.verdicts)
    sent = critic.backend.asked
    assert len(sent) == N
    assert (cost.requests, cost.images) == (N + n_segments, sum(len(request.images) for request in sent))
    assert cost.output_tokens == 100 * N + 50 * n_segments
    assert cost.cost == pytest.approx(cost.output_tokens, rel=0.1)
    assert clf.estimate_cost(*blobs).requests == 0  # all is known
    two = make(critic, judge=judge, n_rounds=2).estimate_cost(*blobs, prices=prices)
    assert two.requests == 2 * cost.requests
    assert make(None).estimate_cost(*blobs).requests == 0


def test_models_survive_cloning(blobs):
    clf = clone(make(lvlm(spurious), judge="parser"))
    assert clf.fit(*blobs).verdicts_.counts()["spurious"] > 0


# Model to words.


def test_the_summary_says_what_the_model_relies_on(blobs, tmp_path):
    clf = make(lvlm(spurious), segmenter="ppeps_wgm", run_dir=tmp_path).fit(*blobs)
    summary = clf.behaviour_summary()
    assert {found.label for found in summary.classes} <= {"0", "1"}
    for found in summary.classes:
        assert sum(found.shares.values()) == pytest.approx(1)
        assert found.shares["spurious"] == pytest.approx(1)
        assert found.author == "template"
        assert "relies mostly on what should not count" in str(summary)

    scribe = ScriptedBackend(lambda request: "It looks at the tag.", name="scribe")
    told = clf.behaviour_summary(scribe)
    assert {(found.text, found.author) for found in told.classes} == {("It looks at the tag.", "scribe")}
    assert [f.covers for f in told.classes] == [f.covers for f in summary.classes]
    asked = len(scribe.requests)
    assert clf.behaviour_summary(BehaviourWriter(scribe)) == told
    assert len(scribe.requests) == asked  # kept in the run directory
    broken = ScriptedBackend(lambda request: ChatFailure("quota", "no more"))
    assert clf.behaviour_summary(broken) == summary

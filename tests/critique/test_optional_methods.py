"""Optional methods: whoever has them gets what they are for, and whoever lacks them is asked as ever."""

import pytest

from lvlm_va.backends import OpenAIBackend, Prices, ScriptedBackend
from lvlm_va.critique import (
    JudgeExample,
    LLMJudge,
    ParserJudge,
    RegionCritic,
    TinyCritic,
    collect_critiques,
    judge_critiques,
    resolve_critic,
    resolve_judge,
)
from lvlm_va.critique.resolve import resolve_critic_and_judge
from lvlm_va.rounds.cost import estimate_critiques
from tests.critique.making import corner_and_centre, verdicts_of
from tests.critique.own import MOST_TOKENS, OwnCritic, OwnJudge, PlainCritic, SpeakingCritic
from tests.serving import Answer, FaultServer

IDS = [str(i) for i in range(20)]
EXAMPLE = JudgeExample("Segment 1 covers a tag.", "spurious")


def make(positions):
    return [corner_and_centre(index=i, label=f"class {i}") for i in positions]


def saying(text):
    return ScriptedBackend(lambda request: text)


def served(server):
    return OpenAIBackend("any", base_url=server.url)


def spurious(asked):
    return Answer("spurious")


def test_what_a_critic_and_a_judge_keep_is_not_asked_again(tmp_path):
    first, second = ScriptedBackend(["relevant"] * 20), ScriptedBackend(["spurious"] * 20)
    for _ in range(2):
        critic, judge = resolve_critic_and_judge(SpeakingCritic(first), OwnJudge(second), tmp_path / "run")
        critiques = collect_critiques(critic, IDS, make)
        judged = judge_critiques(judge, critiques, [2] * 20)
        assert verdicts_of(judged) == [["spurious"] * 2] * 20
    assert len(first.requests) == len(second.requests) == 20
    plain = PlainCritic(first)
    assert resolve_critic_and_judge(plain, "parser", tmp_path) == (plain, ParserJudge())
    assert resolve_critic_and_judge(critic, None, None) == (critic, None)


def test_estimates_are_sums_of_what_critic_and_judge_say():
    critic, judge, prices = SpeakingCritic(saying("?")), OwnJudge(saying("?")), Prices(0.0, 1e6, "EUR")
    both = estimate_critiques(critic, judge, make(range(3)), prices)
    assert (both.requests, both.images, both.output_tokens) == (6, 3, 6 * MOST_TOKENS)
    assert (both.cost, both.currency) == (6 * MOST_TOKENS, "EUR")
    alone = estimate_critiques(critic, None, make(range(3)), prices)
    plain = estimate_critiques(PlainCritic(saying("?")), judge, make(range(3)), prices)
    assert (alone.requests, plain.requests) == (3, 3)
    # Of a critic that cannot say how long its critiques are, the judge may have to read as much as a large model says.
    assert both.input_tokens - alone.input_tokens == 3 * (MOST_TOKENS + 5)
    assert plain.input_tokens == 3 * (1024 + 5)
    assert (
        estimate_critiques(RegionCritic({"irrelevant": ["corners"]}), ParserJudge(), make([0])).requests == 0
    )
    assert not critic.backend.requests + judge.backend.requests


def test_all_images_are_in_batches_before_one_is_waited_for(tmp_path):
    with FaultServer(spurious) as server:
        critiques = collect_critiques(OwnCritic(served(server), tmp_path, batch=True), IDS, make)
        assert verdicts_of(critiques) == [["spurious"] * 2] * 20
        assert [len(batch.entries) for batch in server.batches] == [20]


@pytest.mark.parametrize(("batch", "sizes"), [(True, [20]), (False, [16, 4]), (8, [16, 4])])
def test_a_judge_that_asks_by_batches_gets_all_in_one_call(batch, sizes):
    asked = []

    class Judge(OwnJudge):
        def judge(self, critiques, n_segments):
            asked.append(len(critiques))
            return super().judge(critiques, n_segments)

    critiques = collect_critiques(SpeakingCritic(saying("Hm.")), IDS, make)
    judge_critiques(Judge(saying("unsure"), batch=batch), critiques, [2] * 20)
    assert asked == sizes


def test_a_critic_without_batches_is_asked_chunk_by_chunk():
    backend = saying("spurious")
    calls = []

    class Critic(PlainCritic):
        batch = True  # of no use without a way to hand over

        def critique(self, requests):
            calls.append(len(requests))
            return super().critique(requests)

    collect_critiques(Critic(backend), IDS, make)
    assert calls == [16, 4]


def test_a_critic_may_choose_its_judge():
    class Choosy(OwnCritic):
        def judge_for(self, spec):
            return {None: ParserJudge(), "http://127.0.0.1:1/v1#own": OwnJudge(self.backend)}.get(spec)

    critic = Choosy(saying("?"))
    assert resolve_judge(None, critic) == ParserJudge()
    assert resolve_judge("http://127.0.0.1:1/v1#own", critic) == OwnJudge(critic.backend)
    assert isinstance(resolve_judge("http://127.0.0.1:1/v1#other", critic), LLMJudge)
    assert resolve_judge(None, PlainCritic(saying("?"))) is None


def test_a_critic_s_own_model_judges_with_all_that_it_has(tmp_path):
    options = {"batch": True, "batch_poll": 5.0, "allow_remote": True, "record": tmp_path / "record.jsonl"}
    critic = resolve_critic("http://127.0.0.1:1/v1#any", **options)
    judge = resolve_judge("http://127.0.0.1:1/v1#any", critic)
    assert judge.model is critic.model
    assert (judge.batch, judge.batch_poll, judge.record) == (True, 5.0, tmp_path / "record.jsonl")
    assert critic.judge_for("http://127.0.0.1:1/v1#other") is None


@pytest.mark.parametrize("judge", [OwnJudge(saying("?")), LLMJudge(saying("?"))])
def test_a_judge_is_given_examples(judge):
    given = judge.with_examples([EXAMPLE])
    assert (given.examples, judge.examples, type(given)) == ((EXAMPLE,), (), type(judge))


# The small model, served elsewhere.

COUNTS = "The digit counts. The patch in the corner does not matter."
SAID = "Segment covers the patch. Answer: artefact"


def readable(positions):
    return [corner_and_centre(index=i, label=f"class {i}", description=COUNTS) for i in positions]


def test_the_tiny_critic_served_elsewhere_is_kept_and_estimated(tmp_path):
    backend = ScriptedBackend([SAID, SAID])
    critic, _ = resolve_critic_and_judge(TinyCritic(backend), None, tmp_path)
    prices = Prices(0.0, 1e6)
    found = estimate_critiques(critic, None, [*readable([0]), *make([1])], prices)
    assert (found.requests, found.images) == (2, 2)  # the other has no description that could be read
    for _ in range(2):
        assert verdicts_of(critic.critique(readable([0]))) == [["spurious"] * 2]
        critic, _ = resolve_critic_and_judge(TinyCritic(backend), None, tmp_path)
    assert len(backend.requests) == 2
    assert estimate_critiques(critic, None, readable([0]), prices).requests == 0
    assert critic.fingerprint() == TinyCritic(backend).fingerprint()
    assert (tmp_path / "exchanges.jsonl").exists()


def test_the_tiny_critic_served_elsewhere_is_asked_by_batches(tmp_path):
    with FaultServer(lambda asked: Answer(SAID)) as server:
        critic = TinyCritic(served(server), batch=True, batch_poll=0, cache=tmp_path / "replies.sqlite")
        critiques = collect_critiques(critic, IDS, readable)
        assert verdicts_of(critiques) == [["spurious"] * 2] * 20
        assert [len(batch.entries) for batch in server.batches] == [40]
    with pytest.raises(TypeError, match="must take batches"):
        TinyCritic(saying(SAID), batch=True, cache=tmp_path / "other.sqlite").check_data(5, (8, 8), ["a"])


def test_the_tiny_critic_in_this_process_keeps_and_costs_nothing(tmp_path):
    critic = TinyCritic()
    assert resolve_critic_and_judge(critic, None, tmp_path) == (critic, None)
    assert estimate_critiques(critic, None, readable([0])).requests == 0

"""Critics and judges that ask by batches: all is handed over before anything is waited for."""

import pytest

from lvlm_va.backends import Prices, ScriptedBackend
from lvlm_va.critique import (
    LLMJudge,
    LVLMCritic,
    ModelStoppedError,
    collect_critiques,
    judge_critiques,
    resolve_critic,
    resolve_judge,
)
from lvlm_va.rounds.cost import estimate_critiques
from tests.critique.making import corner_and_centre, verdicts_of
from tests.serving import Answer, FaultServer

IDS = [str(i) for i in range(5)]
COUNTS = [2] * 5


def make(positions):
    return [corner_and_centre(index=i, label=f"class {i}") for i in positions]


def say(asked):
    """Judge what the critic says; of one statement in two ways, first without a verdict."""
    if "Write only" in asked.text or "Now write only" in asked.text:
        return Answer("Segment 1: relevant")
    if "verdict on segment 1" in asked.text:
        return Answer("Hard to say.")
    return Answer("Segment 2: spurious")


def critic_for(server, folder, **more):
    return LVLMCritic(f"{server.url}#any", batch=True, batch_poll=0, cache=folder / "replies.sqlite", **more)


def test_one_batch_for_all_images_and_one_for_each_further_step(tmp_path):
    with FaultServer(say) as server:
        critic = critic_for(server, tmp_path)
        judge = resolve_judge(critic.backend, critic)
        critiques = collect_critiques(critic, IDS, make, chunk_size=2)
        assert [len(batch.entries) for batch in server.batches] == [5]
        judged = judge_critiques(judge, critiques, COUNTS, chunk_size=2)
    assert verdicts_of(judged) == [["relevant", "spurious"]] * 5
    # Equal questions have equal answers, so the judge's are few; the repairs come last.
    assert len(server.batches) == 3
    assert all(not asked.headers for asked in server.asked)


def test_handing_over_and_going_on_later(tmp_path):
    path = tmp_path / "critiques.jsonl"
    with FaultServer(say, batch_polls=3) as server:
        with pytest.raises(ModelStoppedError, match="not finished yet.* Run again later"):
            collect_critiques(critic_for(server, tmp_path, batch_wait=False), IDS, make, path=path)
        assert [len(batch.entries) for batch in server.batches] == [5]
        critiques = collect_critiques(critic_for(server, tmp_path), IDS, make, path=path)
        assert all(critique.answered for critique in critiques)
        assert len(server.batches) == 1


def test_an_estimate_shows_the_price_of_batches(tmp_path):
    with FaultServer() as server:
        one_by_one = LVLMCritic(f"{server.url}#any")
        batch = critic_for(server, tmp_path)
        prices = Prices(2.0, 10.0, batch_factor=0.25)
        full, reduced = (estimate_critiques(who, None, make([0]), prices).cost for who in (one_by_one, batch))
        assert reduced == pytest.approx(full / 4)
        assert not server.asked


def test_text_and_options_make_a_critic_and_a_judge_that_ask_by_batches():
    options = {"batch": True, "batch_wait": False, "batch_poll": 5.0}
    critic = resolve_critic("http://127.0.0.1:1/v1#any", **options)
    same = resolve_judge("http://127.0.0.1:1/v1#any", critic)
    other = resolve_judge("http://127.0.0.1:1/v1#other", critic, **options)
    for asker in (critic, same, other):
        assert (asker.batch, asker.batch_wait, asker.batch_poll) == (True, False, 5.0)


@pytest.mark.parametrize("kind", [LVLMCritic, LLMJudge])
def test_what_cannot_be_asked_by_batches_is_said_before_training(kind, tmp_path):
    with pytest.raises(ValueError, match="'cache' argument must be a file with batch=True"):
        kind("http://127.0.0.1:1/v1#any", batch=True).check_data(5, (8, 8), ["a"])
    scripted = kind(ScriptedBackend(["a"]), batch=True, cache=tmp_path / "replies.sqlite")
    with pytest.raises(TypeError, match="must take batches"):
        scripted.check_data(5, (8, 8), ["a"])

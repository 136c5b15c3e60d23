"""The estimator with a third party's critic and judge that ask a model: kept, estimated and batched as ours are."""

from __future__ import annotations

import pytest

from lvlm_va import LVLMVAClassifier
from lvlm_va.backends import OpenAIBackend, Prices, ScriptedBackend, read_exchanges
from tests.critique.own import MOST_TOKENS, OwnCritic, OwnJudge, PlainCritic, SpeakingCritic
from tests.serving import Answer, FaultServer

N = 20  # more than are asked about in one call
PRICES = Prices(0.0, 1e6)


def make(critic, **parameters) -> LVLMVAClassifier:
    defaults = {"module": "mlp", "n_align": N, "epochs": 1, "align_epochs": 1, "random_state": 0}
    return LVLMVAClassifier(**{**defaults, "critic": critic, **parameters})


def saying(text):
    return ScriptedBackend(lambda request: text)


def forget_critiques(folder):
    for path in folder.glob("critiques-*"):
        path.unlink()


def test_replies_are_kept_in_the_run_directory(blobs, tmp_path):
    critic = OwnCritic(saying("spurious"))
    fitted = make(critic, run_dir=tmp_path).fit(*blobs)
    assert len(critic.backend.requests) == N
    forget_critiques(tmp_path)
    again = make(critic, run_dir=tmp_path).fit(*blobs)
    assert len(critic.backend.requests) == N
    assert again.verdicts_ == fitted.verdicts_
    assert fitted.verdicts_.counts()["spurious"] == len(fitted.verdicts_.verdicts) > 0
    cached = [exchange["reply"]["cached"] for exchange in read_exchanges(tmp_path / "exchanges.jsonl")]
    assert cached == [False] * N + [True] * N


def test_what_it_would_cost_is_known_before_anything_is_sent(blobs, tmp_path):
    critic, judge = SpeakingCritic(saying("A tag.")), OwnJudge(saying("spurious"))
    clf = make(critic, judge=judge, run_dir=tmp_path)
    cost = clf.estimate_cost(*blobs, prices=PRICES)
    assert (cost.requests, cost.images, cost.cost) == (2 * N, N, 2 * N * MOST_TOKENS)
    assert not critic.backend.requests + judge.backend.requests
    clf.fit(*blobs)
    assert len(critic.backend.requests) == len(judge.backend.requests) == N
    assert clf.estimate_cost(*blobs, prices=PRICES).requests == 0


@pytest.mark.parametrize(("batch", "sizes"), [(True, [N]), (False, [])])
def test_all_images_go_into_one_batch(blobs, tmp_path, batch, sizes):
    with FaultServer(lambda asked: Answer("spurious")) as server:
        critic = OwnCritic(OpenAIBackend("any", base_url=server.url), batch=batch)
        clf = make(critic, run_dir=tmp_path).fit(*blobs)
        assert [len(batch.entries) for batch in server.batches] == sizes
        assert len(server.asked) == N
    assert clf.verdicts_.counts()["spurious"] > 0


def test_a_critic_without_optional_methods_is_asked_as_ever(blobs, tmp_path):
    critic = PlainCritic(saying("spurious"))
    clf = make(critic, run_dir=tmp_path)
    assert clf.estimate_cost(*blobs, prices=PRICES).requests == 0
    verdicts = clf.fit(*blobs).verdicts_
    forget_critiques(tmp_path)
    assert make(critic, run_dir=tmp_path).fit(*blobs).verdicts_ == verdicts
    assert len(critic.backend.requests) == 2 * N
    assert not list(tmp_path.glob("replies*")) + list(tmp_path.glob("exchanges*"))

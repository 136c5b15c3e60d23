"""What a callback is told after each epoch, and how it ends training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.alignment import Epoch


class Watching:
    """Keeps what it is told; ends a stage after so many epochs."""

    def __init__(self, **most: int) -> None:
        self.most, self.told = most, []

    def __call__(self, epoch: Epoch) -> bool:
        self.told.append(epoch)
        if epoch.epoch >= self.most.get(epoch.stage, 1000):
            raise StopIteration
        return True  # says nothing

    def of(self, stage: str) -> list[int]:
        return [epoch.epoch for epoch in self.told if epoch.stage == stage]


def make(on_epoch=None, **parameters) -> LVLMVAClassifier:
    defaults = {"n_align": 20, "epochs": 4, "align_epochs": 3, "batch_size": 16, "n_references": 4}
    critic = RegionCritic({"irrelevant": ["corners"]})
    return LVLMVAClassifier(
        "mlp", critic=critic, on_epoch=on_epoch, random_state=0, **{**defaults, **parameters}
    )


def same(one, two) -> None:
    for left, right in zip(one.module_.parameters(), two.module_.parameters(), strict=True):
        assert torch.equal(left, right)


def test_each_epoch_is_told_as_the_history_has_it(blobs):
    X, y = blobs
    watch = Watching()
    clf = make(watch, early_stopping=True).fit(X, y, validation_data=(X[:20], y[:20]))
    assert (watch.of("train"), watch.of("align")) == ([1, 2, 3, 4], [1, 2, 3])
    for stage in ("train", "align"):
        (history,) = clf.history_[stage]
        for k, epoch in enumerate(found for found in watch.told if found.stage == stage):
            assert epoch.n_epochs == len(history.loss)
            for name, curve in vars(history).items():
                assert getattr(epoch, name) == (curve[k] if curve else None)
    assert watch.told[-1].validation_score is not None
    assert watch.told[0].validation_score is None
    same(clf, make(early_stopping=True).fit(X, y, validation_data=(X[:20], y[:20])))


def test_it_ends_the_stage_that_it_stops(blobs):
    clf = make(Watching(train=2)).fit(*blobs)
    assert [len(clf.history_[stage][0].loss) for stage in ("train", "align")] == [2, 3]
    same(clf, make(epochs=2).fit(*blobs))
    clf = make(Watching(align=1)).fit(*blobs)
    assert len(clf.history_["align"][0].loss) == 1
    assert clf.history_["align"][0].rrr_strength[-1] < 1


def test_a_run_that_was_stopped_is_found_again_and_gone_on_with(blobs, tmp_path):
    first, again, on = (Watching(train=2), Watching(train=2), Watching())
    stopped = make(first, run_dir=tmp_path).fit(*blobs)
    found = make(again, run_dir=tmp_path).fit(*blobs)
    assert again.told == first.told
    same(found, stopped)
    whole = make(on, run_dir=tmp_path).fit(*blobs)
    assert on.of("train") == [1, 2, 3, 4]
    assert on.told[0] == first.told[0]
    # Nothing of what followed the stopped net is taken for what follows the whole one.
    alone = make().fit(*blobs)
    same(whole, alone)
    assert torch.equal(whole.explanation_.attributions, alone.explanation_.attributions)
    assert not torch.equal(whole.explanation_.attributions, stopped.explanation_.attributions)


def test_what_it_raises_is_the_users_and_loses_nothing(blobs, tmp_path):
    def broken(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise KeyError("no such metric")

    with pytest.raises(KeyError, match="no such metric"):
        make(broken, run_dir=tmp_path).fit(*blobs)
    watch = Watching()
    clf = make(watch, run_dir=tmp_path).fit(*blobs)
    assert watch.of("train") == [1, 2, 3, 4]
    same(clf, make().fit(*blobs))
    assert np.isfinite(watch.told[-1].loss)
    with pytest.raises(ValueError, match="'on_epoch' parameter"):
        make("print").fit(*blobs)

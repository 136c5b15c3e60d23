"""What speaks against the class: seen, judged and masked where the segments are of the absolute effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.propagation import Propagation
from lvlm_va.segmentation import PPEPSWGM, Grid

TAG = (slice(0, 2), slice(0, 2))


class Watched(OracleCritic):
    """An oracle that remembers what it was asked."""

    def critique(self, requests):
        self.requests = [*getattr(self, "requests", []), *requests]
        return super().critique(requests)


@pytest.fixture
def tagged():
    """Images whose brightness in the middle speaks for class 0, and whose tag speaks against it."""
    rng = np.random.default_rng(0)
    X = np.zeros((20, 1, 8, 8), np.float32)
    X[:, :, 3:5, 3:5] = rng.uniform(0.5, 1, (20, 1, 2, 2))
    X[:, :, *TAG] = rng.uniform(0.5, 1, (20, 1, 2, 2))
    weights = torch.zeros(2, 1, 8, 8)
    weights[0, 0, 3:5, 3:5], weights[0, 0, *TAG] = 1.0, -3.0
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    net[1].weight.data, net[1].bias.data = weights.flatten(1), torch.zeros(2)
    masks = np.zeros((20, 8, 8), bool)
    masks[:, *TAG] = True
    return X, np.arange(20) % 2, net, masks


def fit(tagged, segmenter, **parameters) -> tuple[LVLMVAClassifier, Watched]:
    X, y, net, masks = tagged
    critic = Watched(masks)
    defaults = {"epochs": 0, "align_epochs": 2, "n_align": 10, "references": "zeros", "sampler": "random"}
    clf = LVLMVAClassifier(net, critic=critic, segmenter=segmenter, random_state=0, **defaults, **parameters)
    return clf.fit(X, y), critic


@pytest.mark.filterwarnings("ignore:No segment was judged spurious")
@pytest.mark.parametrize("kind", [PPEPSWGM, Grid])
def test_a_shortcut_that_speaks_against_the_class_is_masked(tagged, kind, tmp_path):
    masks = tagged[3]
    positive, critic = fit(tagged, kind())
    assert {request.effect_kind for request in critic.requests} == {"positive"}
    assert not positive.masks_.any()
    for _ in range(2):  # computed, and read back
        absolute, critic = fit(tagged, kind(effect="absolute"), run_dir=tmp_path)
        ill = tagged[1][absolute.alignment_set_] == 0
        np.testing.assert_array_equal(absolute.masks_[ill], masks[absolute.alignment_set_][ill])
        assert absolute.segments_.effect == "absolute"
    absolute, critic = fit(tagged, kind(effect="absolute"))
    assert {request.effect_kind for request in critic.requests} == {"absolute"}
    for request in critic.requests:
        np.testing.assert_allclose(request.effect.sum(), 1)
        assert (request.effect[masks[request.index]] > 0).all()
    assert "speaks for or against the class" in str(absolute.behaviour_summary())


def test_the_consensus_is_of_the_same_effect(tagged):
    propagation = Propagation(n_images=20, consensus="auto")
    clf, _ = fit(tagged, PPEPSWGM(effect="absolute"), propagate=propagation)
    assert float(clf.propagated_.coverage) == pytest.approx(1)
    np.testing.assert_array_equal(clf.propagated_.consensus.numpy(), tagged[3][0])

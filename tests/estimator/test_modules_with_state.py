"""Modules that keep things besides their weights, or cannot be explained, are known before anything is done."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.modules.logits import copy_module, evaluating, predict_logits

CORNERS = RegionCritic({"irrelevant": [("corners", 0.3)]})


class Keeping(nn.Module):
    """Keeps what maps of attention are drawn from, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(64, 8), nn.Linear(8, 2)
        self.calls, self.seen = 0, {}

    def forward(self, x):
        self.calls += 1
        self.activation = self.hidden(x.flatten(1)).relu()
        self.maps = [self.activation, self.activation.detach()]
        return self.out(self.activation)


def make(module, **parameters) -> LVLMVAClassifier:
    defaults = {"critic": CORNERS, "n_align": 8, "epochs": 1, "align_epochs": 1, "random_state": 0}
    return LVLMVAClassifier(module, **defaults | parameters)


def flat(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "make_module",
    [
        Keeping,
        lambda: flat(nn.utils.weight_norm(nn.Linear(64, 2))),
        lambda: flat(nn.utils.spectral_norm(nn.Linear(64, 2))),
    ],
)
def test_a_module_that_keeps_tensors_is_fitted_again_and_again(small, make_module):
    module = make_module()
    module(torch.from_numpy(small[0]))  # as its user may have
    clf = make(module).fit(*small)
    again = make(clf.module_, epochs=0).fit(*small)
    for fitted in (clf, again):
        copy = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_allclose(copy.predict_proba(small[0]), fitted.predict_proba(small[0]), rtol=1e-6)


def test_nothing_is_asked_twice_of_a_module_that_counts_its_calls(small, tmp_path):
    class Counting(RegionCritic):
        n_asked = 0

        def critique(self, requests):
            type(self).n_asked += len(requests)
            return super().critique(requests)

    module = Keeping()
    one, two = (
        make(module, critic=Counting({"irrelevant": [("corners", 0.3)]}), run_dir=tmp_path).fit(*small)
        for _ in "ab"
    )
    assert Counting.n_asked == 8
    assert torch.equal(one.module_.out.weight, two.module_.out.weight)
    assert len(list(tmp_path.glob("outcome-*"))) == 1


def test_a_pass_in_evaluation_leaves_nothing_behind(small):
    module = Keeping()
    before = dict(vars(module))
    predict_logits(module, torch.from_numpy(small[0]), batch_size=5)
    assert vars(module) == before
    with evaluating(module):
        module(torch.from_numpy(small[0]))
    assert vars(module) == before


def test_a_copy_holds_no_graph(small):
    module = Keeping()
    module(torch.from_numpy(small[0]))
    copy = copy_module(module)
    assert copy.activation.grad_fn is None
    assert copy.maps[0] is copy.activation  # shared as before
    assert torch.equal(copy.activation, module.activation)
    assert module.activation.grad_fn is not None
    gc.collect()


@pytest.mark.parametrize("where", ["outside", "within"])
def test_data_parallel_is_refused_before_training(small, where):
    parallel = nn.DataParallel(nn.Linear(64, 8))
    net = (
        nn.DataParallel(flat(nn.Linear(64, 2)))
        if where == "outside"
        else flat(nn.Sequential(parallel, nn.Linear(8, 2)))
    )
    clf = make(net)
    with pytest.raises(ValueError, match="'module' argument must hold no DataParallel.*attribute 'module'"):
        clf.fit(*small)
    assert not hasattr(clf, "module_")


def test_logits_that_are_no_numbers_are_refused_with_their_images(small):
    class Standardizing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(64, 2)

        def forward(self, x):
            x = x.flatten(1)
            return self.out((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True))

    X, y = small
    clf = make(Standardizing(), critic=None).fit(X, y)
    blank = X.copy()
    blank[3] = 0.5
    for ask in (clf.predict, clf.predict_proba, clf.explain, lambda images: clf.score(images, y)):
        with pytest.raises(FloatingPointError, match=r"finite logits.* for images \[3\] instead.*'out'"):
            ask(blank)
    with pytest.raises(FloatingPointError, match="finite logits"):
        clf.explain(blank, y)
    with pytest.raises(FloatingPointError, match="reference"):
        clf.set_params(references="mean").fit(X, y).set_params(references=blank[3:4])
        clf.fit(X, y).explain(X[:2], y[:2])


def test_a_class_that_is_ruled_out_has_no_probability(small):
    class Ruling(nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).sum(1), torch.full((len(x),), -torch.inf)], 1)

    assert predict_logits(Ruling(), torch.from_numpy(small[0]), batch_size=9).softmax(1)[:, 1].eq(0).all()


def test_a_module_of_weights_that_are_no_numbers(small):
    net = flat(nn.Linear(64, 2))
    nn.init.constant_(net[1].weight, float("nan"))
    with pytest.raises(FloatingPointError, match="'module' argument must return finite logits"):
        make(net, epochs=0).fit(*small)


def test_batch_normalisation_of_single_rows(small):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="'batch_size' argument must leave at least two rows"):
        make(net, batch_size=1).fit(*small)


def test_one_logit_for_two_classes(small):
    clf = make(nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))).fit(*small)
    assert (clf.task_, clf.predict_proba(small[0][:1]).shape) == ("binary", (1, 2))


@pytest.fixture
def small() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((24, 1, 8, 8), dtype=np.float32), np.arange(24) % 2

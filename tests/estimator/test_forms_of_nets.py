"""Nets that torch has compiled, scripted, traced or exported go through fit as the nets that they were made of."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.modules.logits import copy_module

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    # Torch's own, of copies of exported nets, and of what it compiles behind a normalisation.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]
IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
SCRIPTED = {"scripted": torch.jit.script, "traced": lambda net: torch.jit.trace(net, IMAGES)}
FORMS = SCRIPTED | {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled in part": lambda net: nn.Sequential(torch.compile(net[:3], backend="eager"), *net[3:]),
    "exported": lambda net: torch.export.export(
        net, (IMAGES,), dynamic_shapes=({0: torch.export.Dim("n")},)
    ).module(),
}


def net(activation=nn.ReLU, stride=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=stride), nn.BatchNorm2d(4), activation(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16, 2),
        ).eval()  # fmt: skip


def make(module, **parameters):
    defaults = {"epochs": 0, "align_epochs": 2, "n_align": 6, "n_references": 2, "random_state": 0}
    return LVLMVAClassifier(module, **(defaults | parameters))


@pytest.mark.parametrize("form", FORMS)
def test_drawn_masks_align_them(blobs, tmp_path, form):
    X, y = blobs[0].astype(np.float32), blobs[1]
    masks = {"irrelevant": {i: np.eye(8) for i in range(10)}}
    module = FORMS[form](net())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    expected, found = make(net()).fit(X, y, masks=masks), make(module).fit(X, y, masks=masks)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-5)
    assert not np.allclose(found.predict_proba(X), make(net()).fit(X, y).predict_proba(X), atol=1e-4)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())
    exported = load_file(found.export_model(tmp_path))
    assert len(exported) == len(expected.module_.state_dict())


@pytest.mark.parametrize("form", sorted(FORMS.keys() - SCRIPTED.keys()))
def test_critics_judge_them(blobs, form):
    X, y = blobs[0].astype(np.float32), blobs[1]
    critic = RegionCritic({"irrelevant": ["left"]})
    expected, found = (make(module, critic=critic).fit(X, y) for module in (net(), FORMS[form](net())))
    np.testing.assert_array_equal(found.masks_, expected.masks_)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-5)
    if form != "exported":
        again = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))


@pytest.mark.parametrize("form", SCRIPTED)
def test_what_cannot_be_explained_is_refused_before_it_is_trained(blobs, tmp_path, form):
    clf = make(FORMS[form](net()), critic=RegionCritic({"irrelevant": ["left"]}), run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="must be an eager module"):
        clf.fit(blobs[0].astype(np.float32), blobs[1])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", SCRIPTED)
def test_a_run_knows_them_by_what_they_compute(blobs, tmp_path, form):
    makers = (net, net, lambda: net(nn.Sigmoid), lambda: net(stride=2))
    keys = [fingerprint(copy_module(FORMS[form](maker()))) for maker in makers]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    X, y = blobs[0].astype(np.float32), blobs[1]
    masks = {"irrelevant": {0: np.eye(8)}}
    one, other = (make(FORMS[form](net()), run_dir=tmp_path / "run").fit(X, y, masks=masks) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert len(list((tmp_path / "run").glob("align-*.safetensors"))) == 1


def test_an_exported_net_is_not_known_again(blobs, tmp_path):
    with pytest.raises(TypeError, match="parameter of a run that is kept"):
        make(FORMS["exported"](net()), run_dir=tmp_path / "run").fit(blobs[0].astype(np.float32), blobs[1])

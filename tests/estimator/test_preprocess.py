"""A trained net's normalisation stays with it: everything is as if it were the net's own first layer."""

from __future__ import annotations

import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.utils.data import TensorDataset

from lvlm_va import LVLMVAClassifier, RegionCritic, RightReasonsScorer, preprocessing_from
from lvlm_va.comparison import ERMClassifier
from lvlm_va.critique.requests import to_rgb
from lvlm_va.data.inputs import warn_of_unusual_images
from lvlm_va.modules.guessing import warn_of_guessing
from lvlm_va.modules.preprocessed import Normalisation
from lvlm_va.modules.preprocessing import resolve_preprocess
from tests.tolerances import COMPLETENESS

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CONSTANTS = {"mean": MEAN, "std": STD}


class FirstLayer(nn.Module):
    """What users write who put the normalisation into the net."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 2)
    ).double()  # fmt: skip


@pytest.fixture
def colours(blobs) -> tuple[np.ndarray, np.ndarray]:
    X, y = blobs
    return X * np.array([1.0, 0.7, 0.4])[:, None, None], y


def make(module: nn.Module, **parameters) -> LVLMVAClassifier:
    defaults = {
        "critic": RegionCritic({"irrelevant": ["left"]}),
        "n_align": 10,
        "epochs": 2,
        "align_epochs": 2,
    }
    return LVLMVAClassifier(module, **{**defaults, "random_state": 0, **parameters})


def test_everything_is_as_with_a_first_layer_of_the_users_own(colours):
    X, y = colours
    ours = make(net(), preprocess=CONSTANTS).fit(X, y)
    theirs = make(nn.Sequential(FirstLayer(), net())).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    for got, wanted in (
        (ours.explanation_, theirs.explanation_),
        (ours.explain(X, y), theirs.explain(X, y)),
    ):
        torch.testing.assert_close(got.attributions, wanted.attributions)
        assert got.relative_completeness_error() < COMPLETENESS[torch.float64]
    np.testing.assert_array_equal(ours.masks_, theirs.masks_)
    assert ours.masks_.any()
    assert [type(layer) for layer in ours.module_] == [type(layer) for layer in net()]
    for mine, own in (
        (ours.module_, theirs.module_[1]),
        (ours.unaligned_module_, theirs.unaligned_module_[1]),
    ):
        torch.testing.assert_close(mine.state_dict(), own.state_dict())
    deployed = ours.module_.eval()(FirstLayer()(torch.from_numpy(X))).softmax(1)
    np.testing.assert_allclose(ours.predict_proba(X), deployed.detach(), rtol=1e-9)


class Processor:
    """A transformers image processor, as far as it counts here."""

    image_mean, image_std, rescale_factor, do_rescale, do_normalize, do_resize = (
        MEAN,
        STD,
        1 / 255,
        True,
        True,
        True,
    )


def of_torchvision(name: str, **attributes: object) -> object:
    return type(name, (), {"__module__": "torchvision.transforms", **attributes})()


NORMALIZE = of_torchvision("Normalize", mean=torch.tensor(MEAN), std=tuple(STD))
WAYS = {
    "arrays": {"mean": np.array(MEAN), "std": torch.tensor(STD)},
    "processor": Processor(),
    "processor of both": SimpleNamespace(image_processor=Processor()),
    "its settings": {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "size": 224},
    "Normalize": NORMALIZE,
    "Compose": SimpleNamespace(transforms=[of_torchvision("Resize"), of_torchvision("ToTensor"), NORMALIZE]),
    "function": lambda x: (
        (x - torch.tensor(MEAN)[:, None, None].to(x)) / torch.tensor(STD)[:, None, None].to(x)
    ),
    "module": FirstLayer(),
}


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_say_it_agree(way):
    images = torch.rand(4, 3, 5, 6)
    torch.testing.assert_close(
        resolve_preprocess(WAYS[way], 3)(images),
        FirstLayer()(images).to(torch.get_default_dtype()),
        check_dtype=False,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"do_normalize": False, "do_rescale": True}, lambda v: v / 255),
        ({"do_normalize": False, "do_rescale": False}, lambda v: v),
        ({"image_mean": [10, 20, 30], "image_std": [2, 2, 4], "do_rescale": False},
         lambda v: (v - np.array([10, 20, 30.0])) / np.array([2, 2, 4.0])),
        ({"image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 127.5, "rescale_offset": True,
          "include_top": True},
         lambda v: (v / 127.5 - 1 - np.array(MEAN)) / np.array(STD) ** 2),
    ],
)  # fmt: skip
def test_a_processor_makes_of_images_what_it_makes_of_their_bytes(tmp_path, settings, expected):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    values = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(float)
    step = resolve_preprocess(preprocessing_from(tmp_path), 3)
    got = step(torch.from_numpy(values / 255).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(got, expected(values), rtol=1e-9, atol=1e-9)


def test_a_timm_folder_says_it_too_and_others_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'folder' argument must hold a preprocessor_config\.json"):
        preprocessing_from(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {**CONSTANTS, "crop_pct": 0.9}}))
    assert preprocessing_from(tmp_path) == CONSTANTS
    (tmp_path / "preprocessor_config.json").write_text('{"do_flip_channel_order": true}')
    with pytest.raises(ValueError, match=r"Got do_flip_channel_order in it.*flip\(1\)"):
        preprocessing_from(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        preprocessing_from(tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mean": MEAN[:2], "std": STD}, r"each of the images' 3 channels. Got mean=\[0.485, 0.456\]"),
        ({"mean": MEAN, "std": [[0.2]]}, r"each of the images' 3 channels. Got std="),
        ({"mean": "no", "std": STD}, "Got mean='no'"),
        ({"mean": MEAN, "std": [0.2, 0.0, 0.2]}, "'std' above 0"),
        ({"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}, "divide mean and std by 255"),
        ({"mean": MEAN}, r"keys 'mean' and 'std'. Got \['mean'\]"),
        (SimpleNamespace(transforms=[of_torchvision("Grayscale"), NORMALIZE]), "of known parts.*Grayscale"),
        (SimpleNamespace(transforms=[NORMALIZE, NORMALIZE]), "one Normalize"),
    ],
)
def test_what_is_no_normalisation_of_these_images_is_named(spec, message):
    with pytest.raises(ValueError, match=f"'preprocess' argument must.*{message}"):
        resolve_preprocess(spec, 3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.numpy(), "It raised"),
        (lambda x: x.detach(), "be differentiable"),
        (lambda x: x[:1], "return a tensor of 2 rows"),
        (lambda x: x.float(), r"Got torch.float32 of shape \(2, 3, 8, 8\)"),
        (lambda x: (x - x.mean()) / x.std(), "treat each image by itself"),
        (lambda x: x / 0, "finite"),
        (lambda x: x.detach().mul_(2) + x, "It changed the images in place"),
    ],
)  # fmt: skip
def test_functions_that_cannot_come_before_a_net(colours, function, message):
    with pytest.raises(ValueError, match=f"'preprocess' argument must.*{message}"):
        make(net(), preprocess=function).fit(*colours)


def test_a_module_before_the_net_is_neither_trained_nor_changed(colours):
    class Own(FirstLayer):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3).double()

        def forward(self, x):
            return self.norm(super().forward(x))

    own = Own()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    clf = make(net(), preprocess=own, critic=None, l2=1.0).fit(*colours)
    torch.testing.assert_close(clf.preprocess_.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(own.state_dict(), before, rtol=0, atol=0)
    assert own.training
    assert all(parameter.requires_grad for parameter in own.parameters())


class Scaled:
    """Neither a function nor a module, and no plain attribute of one."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def test_resumed_with_another_one_nothing_is_taken_over(colours, tmp_path):
    X, y = colours
    steps = [None, CONSTANTS, {"mean": MEAN, "std": 0.2}, Scaled(2.0), Scaled(3.0)]
    for step in steps:
        here = make(net(), preprocess=step, run_dir=tmp_path).fit(X, y)
        alone = make(net(), preprocess=step).fit(X, y)
        np.testing.assert_array_equal(here.predict_proba(X), alone.predict_proba(X))
    assert len(list(tmp_path.glob("align-*.safetensors"))) == len(steps)
    again = make(net(), preprocess=Scaled(3.0), run_dir=tmp_path).fit(X, y)
    assert len(list(tmp_path.glob("align-*.safetensors"))) == len(steps)
    np.testing.assert_array_equal(again.predict_proba(X), here.predict_proba(X))


def test_clone_parameters_pickle_and_realign(colours):
    X, y = colours
    clf = make(net(), preprocess=CONSTANTS).fit(X, y)
    assert clf.get_params()["preprocess"] is CONSTANTS
    np.testing.assert_array_equal(clone(clf).fit(X, y).predict_proba(X), clf.predict_proba(X))
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.realign(clf.verdicts_, X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert type(again.module_) is nn.Sequential


def test_rivals_keep_it_too(colours):
    X, y = colours
    ours = ERMClassifier(net(), preprocess=CONSTANTS, epochs=2, random_state=0).fit(X, y)
    theirs = ERMClassifier(nn.Sequential(FirstLayer(), net()), epochs=2, random_state=0).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    assert type(ours.module_) is nn.Sequential


def test_the_report_names_it_and_shows_the_images_as_they_are(colours, tmp_path):
    X, y = colours
    asked = []

    class Looking(RegionCritic):
        def critique(self, requests):
            asked.extend(requests)
            return super().critique(requests)

    clf = make(net(), preprocess=CONSTANTS, critic=Looking({"irrelevant": ["left"]})).fit(X, y)
    for request in asked:
        np.testing.assert_array_equal(request.image, to_rgb(X[request.index]))
    page = clf.report(tmp_path / "report.html", X, y, n_explained=4).read_text()
    assert "preprocess" in page
    assert "0.485" in page


def test_images_that_were_normalised_already_are_refused_beside_it(colours):
    X, y = colours
    clf = make(net(), preprocess=CONSTANTS).fit(X, y)
    done = FirstLayer()(torch.from_numpy(X)).numpy()
    for use in (
        lambda: make(net(), preprocess=CONSTANTS).fit(done, y),
        lambda: clf.predict(done),
        lambda: clf.explain(X * 255),
    ):
        with pytest.raises(ValueError, match=r"must hold images in \[0, 1\] where 'preprocess' is given"):
            use()


def test_images_that_are_read_when_needed(colours, monkeypatch):
    X, y = (torch.from_numpy(array) for array in colours)
    held = make(net(), preprocess=CONSTANTS).fit(X, y)
    monkeypatch.setattr("lvlm_va.data.inputs.LARGEST_IN_MEMORY", 0)
    read = make(net(), preprocess=CONSTANTS).fit(TensorDataset(X, y))
    np.testing.assert_array_equal(read.predict_proba(TensorDataset(X)), held.predict_proba(X))
    with pytest.raises(ValueError, match="'preprocess' is given"):
        read.predict(TensorDataset(FirstLayer()(X), y))


def test_a_scorer_explains_what_the_net_sees(colours):
    X, y = colours
    ours = make(net(), preprocess=CONSTANTS).fit(X, y)
    theirs = make(nn.Sequential(FirstLayer(), net())).fit(X, y)
    one, two = (RightReasonsScorer.from_critic(clf, X, y) for clf in (ours, theirs))
    assert one(ours, X, y) == pytest.approx(two(theirs, X, y))


@pytest.mark.parametrize("mean_and_std", [(MEAN, STD), ([0.5] * 3, [0.5] * 3), ([0.2] * 3, [0.3] * 3)])
def test_standardised_images_are_told_what_to_pass(colours, mean_and_std):
    done = Normalisation(*mean_and_std)(torch.from_numpy(colours[0])).numpy()
    with pytest.warns(UserWarning, match=r"look standardised.*preprocess={'mean'"):
        warn_of_unusual_images(done)
    assert to_rgb(done[0]).min() == 0
    assert to_rgb(done[0]).max() == 255
    assert len(np.unique(to_rgb(done[0]))) > 30


class NobodyAsked:
    name = "nobody"

    def critique(self, requests):
        raise AssertionError("The critic was asked.")


def test_a_net_that_only_guesses_here_is_told_before_anybody_is_asked(colours):
    X, y = colours
    trained = make(net(), preprocess=CONSTANTS, critic=None, epochs=15, lr=1e-2).fit(X, y)
    assert trained.score(X, y) > 0.95
    flipped = nn.Sequential(trained.module_, nn.Linear(2, 2).double())
    with torch.no_grad():
        flipped[1].weight.copy_(torch.tensor([[1.0, 0.0], [1e-3, 0.0]]))
        flipped[1].bias.copy_(torch.tensor([0.0, 1e3]))
    with (
        pytest.raises(AssertionError, match="was asked"),
        pytest.warns(UserWarning, match="right on 50% of 60.*'preprocess'.*BGR"),
    ):
        make(flipped, preprocess=CONSTANTS, epochs=0, critic=NobodyAsked()).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(trained.module_, preprocess=CONSTANTS, critic=None, epochs=0).fit(X, y)


def test_guessing_is_told_from_weak_and_from_rare():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.integers(0, 3, 600))
    with pytest.warns(UserWarning, match="a guess is on 33%"):
        warn_of_guessing(truth, torch.zeros_like(truth), 3)
    weak = torch.where(
        torch.from_numpy(rng.uniform(size=600) < 0.2), truth, torch.from_numpy(rng.integers(0, 3, 600))
    )
    # Right less often than who always says the frequent class, and yet it finds the rare one.
    rare = torch.from_numpy((np.arange(600) % 20 == 0).astype(np.int64))
    found = torch.where(torch.from_numpy(rng.uniform(size=600) < 0.9), rare, 1 - rare)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_guessing(truth, weak, 3)
        warn_of_guessing(rare, found, 2)
        warn_of_guessing(torch.tensor([0, 1]), torch.tensor([0, 1]), 2)

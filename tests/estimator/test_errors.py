"""Bad input, each with an error that names the argument, what was expected and what came."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic
from lvlm_va.critique import Critique

CORNERS = RegionCritic({"irrelevant": [("corners", 0.3)]})


def make(**parameters) -> LVLMVAClassifier:
    defaults = {"critic": CORNERS, "n_align": 10, "epochs": 1, "align_epochs": 1, "random_state": 0}
    return LVLMVAClassifier(**{**defaults, **parameters})


@pytest.mark.parametrize(("bad", "message"), [(np.nan, "X contains NaN"), (np.inf, "X contains infinity")])
def test_images_not_finite(blobs, bad, message):
    X, y = blobs
    X[3, 0, 2, 2] = bad
    with pytest.raises(ValueError, match=message):
        make().fit(X, y)


def test_labels_of_the_wrong_length(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make().fit(X, y[:-1])


def test_one_class_only(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="'y' argument must hold at least two classes. Got one class, 7,"):
        make().fit(X, np.full_like(y, 7))


@pytest.mark.parametrize(
    "parameters",
    [
        {"specifications": {"2": "the lesion"}},
        {"critic": RegionCritic({"2": {"irrelevant": ["corners"]}})},
    ],
)
def test_unknown_class_in_specifications(blobs, parameters):
    X, y = blobs
    with pytest.raises(ValueError, match=r"specification.*must be one of \['0', '1'\]. Got '2'"):
        make(**parameters).fit(X, y)


def test_image_shape_changed_between_fit_and_predict(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    with pytest.raises(ValueError, match=r"images of shape \(1, 8, 7\).*fitted with \(1, 8, 8\)"):
        clf.predict(X[..., :-1])


def test_image_shape_that_does_not_fit(blobs):
    X, y = blobs
    with pytest.raises(
        ValueError, match=r"'image_shape' argument must be .* fit the images. Got \(1, 8, 9\)"
    ):
        make(image_shape=(1, 8, 9)).fit(X, y)


def test_five_dimensions(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"'X' argument must have shape \(n, C, H, W\)"):
        make().fit(X[None].repeat(60, 0)[:, :1], y)


def test_module_of_another_width(blobs):
    X, y = blobs
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ValueError, match=r"one logit per class: 2 classes.*shape \(2, 3\)"):
        make(module=module).fit(X, y)


def test_a_softmax_at_the_end_is_told_of(blobs):
    X, y = blobs
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Softmax(1))
    with pytest.warns(UserWarning, match="must return logits, and its outputs look like probabilities"):
        make(module=module).fit(X, y)


class Breaking(nn.Sequential):
    """Divides by how far the first pixel is from one half."""

    def forward(self, x):
        return self[1](self[0](x) / (x[:, 0, 0, :1] - 0.5))


@pytest.mark.parametrize("method", ["fit", "predict", "explain", "score"])
def test_logits_that_are_not_finite_name_the_image(blobs, method):
    X, y = blobs
    X[:, 0, 0, 0] = 1
    module = Breaking(nn.Flatten(), nn.Linear(64, 2))
    towards = torch.from_numpy(X[y == 1].mean(0) - X[y == 0].mean(0)).flatten()
    middle = torch.from_numpy(X.mean(0)).flatten() @ towards
    module.load_state_dict(
        {"1.weight": torch.stack([-towards, towards]), "1.bias": torch.stack([middle, -middle])}
    )
    classifier = make(module=module, epochs=0).fit(X, y)
    X[7, 0, 0, 0] = 0.5
    with pytest.raises(
        FloatingPointError, match=r"for images \[7\] instead. They begin in its part '1' \(Linear\)"
    ):
        getattr(classifier, method)(*[X, y] if method in ("fit", "score") else [X])


class Aliased(nn.Module):
    """Has a name of its own for a part of its net."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
        self.features = self.net[1]

    def forward(self, x):
        return self.net(x)


def test_a_submodule_under_two_names_is_aligned(blobs):
    X, y = blobs
    classifier = make(module=Aliased()).fit(X, y)
    before, after = (list(m.parameters()) for m in (classifier.unaligned_module_, classifier.module_))
    assert all(p.requires_grad and not torch.equal(p, q) for p, q in zip(after, before, strict=True))


def test_module_in_half_precision(blobs):
    X, y = blobs
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).half()
    with pytest.raises(ValueError, match=r"float32 or float64 parameters. Got torch.float16"):
        make(module=module).fit(X, y)


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        return self.head(x.flatten(1).detach())


def test_non_differentiable_module(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="'module' argument must be differentiable"):
        make(module=Rounded()).fit(X, y)


def test_module_that_returns_something_else(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"logits of shape \(2, n_classes\).*Flatten"):
        make(module=nn.Linear(8, 2)).fit(X, y)
    with pytest.raises(TypeError, match="Got str instead"):
        make(module=lambda: "net").fit(X, y)


@pytest.mark.parametrize("shape", [(60, 8, 9), (59, 8, 8)])
def test_masks_of_the_wrong_shape_are_refused_before_training(blobs, shape):
    X, y = blobs
    clf = make(critic=OracleCritic(np.zeros(shape, bool)))
    with pytest.raises(ValueError, match="'masks' argument"):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")


@pytest.mark.parametrize("parameters", [{"n_align": 61}, {"n_align": 31, "n_rounds": 2}])
def test_more_critiques_than_images(blobs, parameters):
    X, y = blobs
    with pytest.raises(ValueError, match=r"'n_align' argument.*60"):
        make(**parameters).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sampler": "low_entropie"}, "'sampler' argument must be one of.*Did you mean 'low_entropy'"),
        ({"critic": "tabel:v.json"}, "'critic' argument must be one of.*Did you mean 'table'"),
        ({"segmenter": "ppeps-wgm"}, "'segmenter' argument must be one of.*Did you mean 'ppeps_wgm'"),
        ({"attribution": "deeplift"}, "'attribution' argument must be one of.*Did you mean 'deeplift_shap'"),
        ({"references": "zero"}, "'references' argument must be one of.*Did you mean 'zeros'"),
        ({"module": "resnet"}, "'module' argument must be one of.*Did you mean 'resnet8'"),
        ({"optimizer": "adma"}, "'optimizer' argument must be one of.*Did you mean 'adam'"),
        ({"device": "cuda:99"}, "'device' argument"),
        ({"rrr_strength": -1.0}, "'rrr_strength' parameter"),
        ({"align_fraction": 0.0}, "'align_fraction' parameter"),
        ({"critic": object()}, "'critic' parameter"),
    ],
)
def test_unknown_names_and_values_are_refused_before_training(blobs, parameters, message):
    X, y = blobs
    clf = make(**parameters)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")


def test_image_ids_that_do_not_fit(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="'image_ids' argument must hold one name per image, 60. Got 3"):
        make().fit(X, y, image_ids=["a", "b", "c"])
    with pytest.raises(ValueError, match="'image_ids' argument must hold different names. Got 'a' twice"):
        make().fit(X, y, image_ids=["a"] * 60)


def test_run_directory_of_another_run(blobs, tmp_path):
    X, y = blobs
    make(run_dir=tmp_path / "run").fit(X, y)
    with pytest.raises(ValueError, match="'run_dir' argument must name a folder of this run.*other data"):
        make(run_dir=tmp_path / "run").fit(1 - X, y)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_run_directory_needs_a_seed(blobs, tmp_path, random_state):
    X, y = blobs
    with pytest.raises(
        ValueError, match="'random_state' argument must be an integer where 'run_dir' is given"
    ):
        make(run_dir=tmp_path / "run", random_state=random_state).fit(X, y)


def test_images_outside_the_unit_range_are_named(blobs):
    X, y = blobs
    with pytest.warns(
        UserWarning, match=r"'X' argument should hold images in \[0, 1\]. Got values from 0"
    ) as said:
        make().fit(np.round(X * 255), y)
    assert {warning.filename for warning in said} == {__file__}


def test_images_with_the_channels_last_are_named():
    X, y = np.zeros((20, 8, 8, 3)), np.arange(20) % 2
    X[y == 1] = 1
    with pytest.warns(UserWarning, match=r"looks like \(n, H, W, C\)") as said:
        make(critic=RegionCritic({"irrelevant": ["left"]})).fit(X, y)
    assert {warning.filename for warning in said} == {__file__}


def test_critic_that_reaches_no_verdict(blobs):
    class Silent:
        name = "silent"

        def critique(self, requests):
            return [Critique(request.image_id, "Hm.") for request in requests]

    with pytest.raises(ValueError, match="'critic' argument must reach a verdict on every segment. Got 0"):
        make(critic=Silent()).fit(*blobs)


def test_damaged_stage_is_named_and_made_again(blobs, tmp_path):
    X, y = blobs
    before = make(run_dir=tmp_path / "run").fit(X, y).explanation_.attributions
    (path,) = (tmp_path / "run").glob("explain-*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged.*made again.*kept as {path.name}.damaged"):
        again = make(run_dir=tmp_path / "run").fit(X, y)
    assert again.explanation_.attributions.equal(before)


def test_names_are_checked_without_a_critic_too(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="'attribution' argument must be one of"):
        make(critic=None, attribution="deeplift").fit(X, y)


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 1, 8, 8)), np.full((60, 1, 8, 8), "a"), np.full((60, 1, 8, 8), 1j)]
)
def test_images_of_no_number_or_none_at_all(blobs, bad):
    with pytest.raises(ValueError):
        make().fit(bad, blobs[1][: len(bad)])


def test_labels_of_another_type_in_explain(blobs):
    X, y = blobs
    clf = make().fit(X, np.array(["ill", "well"])[y])
    with pytest.raises(ValueError, match=r"'y' argument must hold the classes \['ill', 'well'\]"):
        clf.explain(X[:2], [1, 2])


def test_labels_of_unknown_classes_in_explain(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    with pytest.raises(ValueError, match="'y' argument must hold the classes"):
        clf.explain(X[:1], [5])


def test_data_set_of_images_of_different_shapes():
    items = [(torch.zeros(1, 4, 4), 0), (torch.zeros(1, 5, 4), 1)]

    class Ragged(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return items[i]

    with pytest.raises(ValueError, match="'X' argument must hold images of one shape"):
        make().fit(Ragged())


def test_what_needs_a_critic_says_so_of_an_estimator_without(blobs, tmp_path):
    clf = make(critic=None).fit(*blobs)
    for ask in (clf.report, clf.behaviour_summary, lambda: clf.realign(tmp_path / "verdicts.json")):
        with pytest.raises(ValueError, match="'critic' argument.*fitted without one"):
            ask()


def test_a_data_loader(blobs):
    loader = DataLoader(TensorDataset(*map(torch.from_numpy, blobs)))
    with pytest.raises(TypeError, match="'X' argument.*DataLoader.*'dataset'"):
        make().fit(loader)


def test_a_dataset_of_dicts(blobs):
    class Dicts(Dataset):
        def __len__(self) -> int:
            return len(blobs[1])

        def __getitem__(self, i: int):
            return {"pixels": blobs[0][i], "label": blobs[1][i]}

    with pytest.raises(TypeError, match=r"'X' argument.*keys \['pixels', 'label'\]"):
        make().fit(Dicts())


def test_labels_that_pandas_lets_be_missing_keep_their_names(blobs):
    X, y = blobs
    for labels in (pd.Series(y).astype("Int64"), pd.Series(y == 1).astype("boolean")):
        said = {labels[0]: "What counts is the bar.", labels[1]: "What counts is the blob."}
        clf = make(critic=None, specifications=said).fit(X, labels)
        assert set(clf.classes_.tolist()) == set(said)
    with pytest.raises(ValueError, match="NaN"):
        make().fit(X, pd.Series([None, *y[1:]]).astype("Int64"))


@pytest.mark.parametrize(
    "schedule",
    [
        torch.optim.lr_scheduler.ReduceLROnPlateau,
        lambda o, steps: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
    ],
)
def test_what_alignment_cannot_use_is_found_before_anybody_is_asked(blobs, schedule):
    class NobodyAsked(RegionCritic):
        def critique(self, requests):
            raise AssertionError("The critic was asked.")

    critic = NobodyAsked({"irrelevant": ["corners"]})
    with pytest.raises(TypeError, match="'schedule' callable.*Got ReduceLROnPlateau"):
        make(critic=critic, align_schedule=schedule).fit(*blobs)


def test_home_is_found(blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    clf = make(
        run_dir="~/run", specifications={0: "What counts is the bar.", 1: "What counts is the blob."}
    ).fit(*blobs)
    clf.report("~/page.html")
    assert {"page.html", "run"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "~").exists()

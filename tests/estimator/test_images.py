"""scikit-learn's checks repeated on images of shape (n, C, H, W), where its own battery gives rows."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from lvlm_va import LVLMVAClassifier, RegionCritic

LEFT_IS_IRRELEVANT = RegionCritic({"irrelevant": [(0.0, 0.0, 1.0, 0.5)]})


def make(**parameters) -> LVLMVAClassifier:
    defaults = {
        "critic": LEFT_IS_IRRELEVANT,
        "n_align": 10,
        "epochs": 3,
        "align_epochs": 2,
        "random_state": 0,
    }
    return LVLMVAClassifier(**{**defaults, **parameters})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_dtypes(blobs, dtype):
    X, y = blobs
    X = (X > 0.5 if dtype is np.int64 else X).astype(dtype)
    assert make().fit(X, y).predict(X).dtype == y.dtype


@pytest.mark.parametrize("labels", [("cat", "dog"), (-1, 1), (True, False), (0.0, 1.0)])
def test_labels_of_any_type(blobs, labels):
    X, y = blobs
    y = np.asarray(labels)[y]
    clf = make().fit(X, y)
    assert clf.classes_.tolist() == sorted(labels)
    assert clf.predict(X).dtype == y.dtype
    assert clf.score(X, y) > 0.9


def test_fit_is_idempotent(blobs):
    X, y = blobs
    clf = make()
    one, two = clf.fit(X, y).predict_proba(X), clf.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(one, two)


def test_probabilities_do_not_depend_on_batch_mates_or_order(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    whole = clf.predict_proba(X)
    np.testing.assert_allclose(np.concatenate([clf.predict_proba(x[None]) for x in X]), whole, atol=1e-7)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(clf.predict_proba(X[order]), whole[order], atol=1e-9)
    np.testing.assert_allclose(whole.sum(1), 1)


def test_clone_and_pickle(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    fresh = clone(clf)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    np.testing.assert_array_equal(fresh.fit(X, y).predict_proba(X), clf.predict_proba(X))
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.verdicts_ == clf.verdicts_


def test_pickle_leaves_the_training_images_out(blobs):
    X, y = blobs
    X = np.repeat(X, 20, axis=0)
    assert len(pickle.dumps(make(module="mlp").fit(X, np.repeat(y, 20)))) < X.nbytes


def test_read_only_memory_map_and_any_strides(blobs, tmp_path):
    X, y = blobs
    joblib.dump(X, tmp_path / "X")
    mapped = joblib.load(tmp_path / "X", mmap_mode="r")
    expected = make().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(make().fit(mapped, y).predict_proba(mapped), expected)
    reversed_twice = np.asfortranarray(X)[..., ::-1][..., ::-1]
    np.testing.assert_array_equal(make().fit(reversed_twice, y).predict_proba(reversed_twice), expected)


def test_inputs_and_parameters_are_not_changed(blobs):
    X, y = blobs
    X_before, y_before = X.copy(), y.copy()
    clf = make()
    before = clf.get_params()
    clf.fit(X, y).predict(X)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)
    assert all(clf.get_params()[name] is value for name, value in before.items())


def test_predicting_leaves_the_estimator_as_it_was(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    before = dict(vars(clf))
    clf.predict(X), clf.predict_proba(X), clf.explain(X[:2]), clf.score(X, y)
    assert vars(clf) == before


class Pairs(Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return torch.from_numpy(self.X[i]), int(self.y[i])


def test_all_forms_of_the_same_images_agree(blobs):
    X, y = blobs
    X = np.round(X * 255).astype(np.uint8)
    floats = X.astype(np.float32) / np.float32(255)
    expected = make(module="mlp").fit(floats, y).predict_proba(floats)
    forms = {
        "uint8": (X, y),
        "torch": (torch.from_numpy(floats), torch.from_numpy(y)),
        "(n, H, W)": (floats[:, 0], y),
        "list": (list(floats), y),
        "uint8 frame": (pd.DataFrame(X.reshape(60, 64)), y),
        "flat rows": (floats.reshape(60, 64), y),
        "Dataset": (Pairs(floats, y), None),
        "TensorDataset": (TensorDataset(torch.from_numpy(floats), torch.from_numpy(y)), None),
    }
    for form, (images, labels) in forms.items():
        shape = (1, 8, 8) if form in {"flat rows", "uint8 frame"} else None
        clf = make(module="mlp", image_shape=shape).fit(images, labels)
        assert clf.image_shape_ == (1, 8, 8), form
        np.testing.assert_array_equal(clf.predict_proba(images), expected, err_msg=form)


def test_data_set_of_pillow_images_scores_itself(blobs):
    X, y = blobs
    pixels = np.round(X[:, 0] * 255).astype(np.uint8)
    colour = [
        (Image.fromarray(np.stack([p, p // 2, p // 3], axis=-1)), int(label))
        for p, label in zip(pixels, y, strict=True)
    ]

    class Pillow(Pairs):
        def __getitem__(self, i):
            return colour[i]

    data = Pillow(X, y)
    clf = make().fit(data)
    assert clf.image_shape_ == (3, 8, 8)
    assert clf.score(data) > 0.9


def test_forms_may_differ_between_fit_and_predict(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    for form in (X[:, 0], X.reshape(60, 64), torch.from_numpy(X)):
        np.testing.assert_array_equal(clf.predict_proba(form), clf.predict_proba(X))


def test_images_of_another_layout_are_refused_in_every_form(blobs):
    X, y = blobs
    clf = make(critic=None).fit(X, y)
    turned = X.transpose(0, 2, 3, 1)
    for images in (turned, list(turned), torch.from_numpy(turned.copy())):
        with pytest.raises(ValueError, match=r"images of shape \(8, 8, 1\), but LVLMVAClassifier was fitted"):
            clf.predict(images)


def test_frozen_batch_norm_keeps_its_statistics(blobs):
    X, y = blobs
    module = WithEverything()
    module.norm.requires_grad_(False)
    trained = make(module=module).fit(X, y).module_
    assert torch.equal(trained.norm.running_mean, module.norm.running_mean)
    assert not torch.equal(trained.head.weight, module.head.weight)


def test_one_image_alone(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    assert clf.predict(X[:1]).shape == (1,)
    assert clf.explain(X[:1]).attributions.shape == (1, 1, 8, 8)


def test_parameters_set_after_a_fit_count_at_the_next(blobs):
    X, y = blobs
    clf = make().fit(X, y)
    clf.set_params(critic=None, epochs=5).fit(X, y)
    assert not hasattr(clf, "verdicts_")
    assert len(clf.history_["train"][0].loss) == 5


class WithEverything(nn.Module):
    """A module with all that a careless library would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 2)
        self.drop, self.act = nn.Dropout(0.2), nn.ReLU(inplace=True)
        self.conv.weight.requires_grad_(False)
        self.norm.eval()
        self.calls = 0
        self.register_forward_hook(lambda *_: None)

    def forward(self, x):
        return self.head(self.drop(self.act(self.norm(self.conv(x)))).flatten(1))


def test_user_module_is_bit_equal_before_and_after(blobs):
    X, y = blobs
    module = WithEverything()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    flags = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in module.modules()]
    requires = [p.requires_grad for p in module.parameters()]
    rng = torch.get_rng_state()
    clf = make(module=module).fit(X, y)
    clf.explain(X)
    assert clf.module_ is not module
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in module.modules()] == flags
    assert [p.requires_grad for p in module.parameters()] == requires
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_dataset_that_changes_from_read_to_read_is_told_of(blobs):
    class Noisy(Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, row):
            return torch.from_numpy(blobs[0][row]).float() + 0.1 * torch.rand(()), blobs[1][row]

    with pytest.warns(UserWarning, match="another image when item 0 was read again.* as 'augment'"):
        LVLMVAClassifier(epochs=1).fit(Noisy())
    LVLMVAClassifier(epochs=1).fit(
        TensorDataset(torch.from_numpy(blobs[0]).float(), torch.from_numpy(blobs[1]))
    )

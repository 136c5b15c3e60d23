"""Each rival does what its paper says, and only its paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.model_selection import cross_val_score

from lvlm_va.alignment import TrainingOptions, train
from lvlm_va.comparison import (
    RIVALS,
    CounterexampleClassifier,
    DFRClassifier,
    ERMClassifier,
    GroundTruthRRRClassifier,
    GroupDROClassifier,
    JTTClassifier,
    SUBGClassifier,
)
from lvlm_va.comparison.counterexamples import counterexamples
from lvlm_va.metrics import alignment_score
from tests.comparison.shortcut import Shortcut, shortcut

QUICK = {"module": "mlp", "epochs": 3, "batch_size": 32, "random_state": 0}


@pytest.fixture(scope="module")
def data() -> Shortcut:
    return shortcut(300, 0.9, seed=0)


def extras(name: str, data: Shortcut) -> dict[str, np.ndarray]:
    """Return what this rival must be told besides images and labels."""
    told = {"groups": data.groups} if RIVALS[name].needs_groups else {}
    return told | ({"masks": data.masks} if RIVALS[name].needs_masks else {})


@pytest.mark.parametrize("name", RIVALS)
def test_fits_predicts_and_explains_and_repeats_itself(data: Shortcut, name: str) -> None:
    upweight = {"identification_epochs": 1} if name == "jtt" else {}
    one, two = (RIVALS[name](**QUICK, **upweight).fit(data.X, data.y, **extras(name, data)) for _ in range(2))
    assert one.score(data.X, data.y) > 0.6
    np.testing.assert_array_equal(one.predict_proba(data.X), two.predict_proba(data.X))
    assert one.explain(data.X[:3]).relative_completeness_error() < 1e-4
    assert set(one.history_) <= set(one.seconds_)


@pytest.mark.parametrize("name", [name for name in RIVALS if name not in {"dfr", "ground_truth_rrr", "jtt"}])
def test_trained_module_is_taken_as_it_is(data: Shortcut, name: str) -> None:
    trained = ERMClassifier(**QUICK).fit(data.X, data.y).module_
    clf = RIVALS[name](trained, epochs=0).fit(data.X, data.y, **extras(name, data))
    for key, tensor in clf.module_.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[key])


def test_erm_is_the_training_loop(data: Shortcut) -> None:
    clf = ERMClassifier(**QUICK).fit(data.X, data.y)
    again = ERMClassifier(**{**QUICK, "epochs": 0}).fit(data.X, data.y)
    seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    options = TrainingOptions(epochs=3, batch_size=32)
    images, labels = torch.from_numpy(data.X), torch.from_numpy(data.y)
    expected = train(again.module_, images, labels, options, seed=seed).module
    for key, tensor in clf.module_.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[key])


def test_rrr_goes_on_from_plain_training_and_quiets_the_marked_pixels(data: Shortcut) -> None:
    erm = ERMClassifier(**QUICK).fit(data.X, data.y)
    strong = {"align_epochs": 10, "rrr_strength": 1.0}
    clf = GroundTruthRRRClassifier(**QUICK, **strong).fit(data.X, data.y, masks=data.masks)
    assert clf.history_["train"][0].loss == erm.history_["train"][0].loss
    assert len(clf.history_["align"][0].penalty) == 10
    longer = ERMClassifier(**{**QUICK, "epochs": 13}).fit(data.X, data.y)
    mended, before = (
        alignment_score(net.explain(data.X, data.y).attributions, data.masks) for net in (clf, longer)
    )
    assert mended > before + 0.1
    later = GroundTruthRRRClassifier(erm.module_, epochs=0, batch_size=32, random_state=0, **strong)
    later.fit(data.X, data.y, masks=torch.from_numpy(data.masks))
    np.testing.assert_array_equal(later.predict_proba(data.X), clf.predict_proba(data.X))


def test_jtt_weighs_up_what_the_first_classifier_got_wrong(data: Shortcut) -> None:
    first = ERMClassifier(**{**QUICK, "epochs": 1}).fit(data.X, data.y)
    wrong = np.flatnonzero(first.predict(data.X) != data.y)
    clf = JTTClassifier(**QUICK, identification_epochs=1, upweight=4).fit(data.X, data.y)
    assert clf.error_set_.tolist() == wrong.tolist()
    given = JTTClassifier(**QUICK, identifier=first.module_, upweight=4).fit(data.X, data.y)
    np.testing.assert_array_equal(given.predict_proba(data.X), clf.predict_proba(data.X))
    # The loop counts right rows over all it was shown: each image once, and the wrong ones four times more.
    right = np.array(clf.history_["train"][0].accuracy) * (300 + 4 * len(wrong))
    np.testing.assert_allclose(right, right.round(), atol=1e-3)


def test_subg_trains_on_equally_many_of_each_group(data: Shortcut) -> None:
    clf = SUBGClassifier(**QUICK).fit(data.X, data.y, groups=data.groups)
    sizes = np.unique(data.groups, return_counts=True)[1]
    chosen = np.unique(data.groups[clf.subset_], return_counts=True)[1]
    assert chosen.tolist() == [sizes.min()] * 4
    rest = np.setdiff1d(np.arange(300), clf.subset_)
    changed = data.X.copy()
    changed[rest] = 0.5
    again = SUBGClassifier(**QUICK, references="zeros").fit(changed, data.y, groups=data.groups)
    np.testing.assert_array_equal(again.predict_proba(data.X), clf.predict_proba(data.X))


def test_group_dro_weighs_the_group_that_fares_worst_most(data: Shortcut) -> None:
    erm = ERMClassifier(**QUICK).fit(data.X, data.y)
    losses = -np.log(erm.predict_proba(data.X)[np.arange(300), data.y])
    # From a net that has learned the shortcut, with a rate that leaves it as it is.
    clf = GroupDROClassifier(erm.module_, epochs=1, lr=1e-9, batch_size=32, step_size=0.5)
    clf.fit(data.X, data.y, groups=data.groups)
    assert clf.group_names_ == ("0/corner", "0/plain", "1/corner", "1/plain")
    assert clf.group_weights_.sum() == pytest.approx(1)
    means = [losses[data.groups == name].mean() for name in clf.group_names_]
    assert np.argsort(clf.group_weights_).tolist() == np.argsort(means).tolist()


def test_dfr_changes_the_last_layer_alone(data: Shortcut) -> None:
    erm = ERMClassifier(**QUICK).fit(data.X, data.y)
    clf = DFRClassifier(erm.module_, epochs=0, random_state=0).fit(data.X, data.y, groups=data.groups)
    before, after = erm.module_.state_dict(), clf.module_.state_dict()
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed == ["5.weight", "5.bias"]
    assert clf.reweighting_set_.tolist() == list(range(300))
    assert clf.C_ in clf.Cs


def test_dfr_keeps_images_of_each_group_from_training(data: Shortcut) -> None:
    clf = DFRClassifier(**QUICK, holdout=0.3).fit(data.X, data.y, groups=data.groups)
    names, sizes = np.unique(data.groups, return_counts=True)
    kept = [int((data.groups[clf.reweighting_set_] == name).sum()) for name in names]
    assert kept == [max(2, round(0.3 * size)) for size in sizes]
    changed = data.X.copy()
    changed[clf.reweighting_set_] = 0.5
    again = DFRClassifier(**QUICK, holdout=0.3).fit(changed, data.y, groups=data.groups)
    for one, two in zip(clf.module_[:5].parameters(), again.module_[:5].parameters(), strict=True):
        assert torch.equal(one, two)


def test_dfr_averages_its_fits(data: Shortcut, monkeypatch) -> None:
    seen = []

    def spy(features, labels, n_classes, C, *, start=None):
        seen.append((C, np.bincount(labels).tolist(), torch.randn(31, 2, dtype=torch.float64)))
        return seen[-1][2]

    monkeypatch.setattr("lvlm_va.comparison.dfr.fit_l1_logistic", spy)
    erm = ERMClassifier(**QUICK).fit(data.X, data.y)
    clf = DFRClassifier(erm.module_, epochs=0, random_state=0).fit(data.X, data.y, groups=data.groups)
    assert len(seen) == 7 + 20
    assert [C for C, _, _ in seen[:7]] == sorted(clf.Cs)
    smallest = np.unique(data.groups, return_counts=True)[1].min()
    assert all(counts == [2 * smallest] * 2 for _, counts, _ in seen[7:])
    mean = torch.stack([weights for _, _, weights in seen[7:]]).mean(0)
    embeddings = erm.module_[:5](torch.from_numpy(data.X)).detach().double()
    scale = embeddings.std(0, correction=0)
    standard = (embeddings - embeddings.mean(0)) / torch.where(scale > 0, scale, 1.0)
    expected = (standard @ mean[:-1] + mean[-1]).softmax(1).numpy()
    np.testing.assert_allclose(clf.predict_proba(data.X), expected, atol=1e-4)


def test_dfr_with_many_classes(digits) -> None:
    groups = np.array([f"{y}/{i % 2}" for i, y in enumerate(digits.labels)])
    clf = DFRClassifier("cnn", epochs=3, batch_size=32, holdout=0.5, Cs=(0.1, 1.0), n_fits=10, random_state=0)
    assert clf.fit(digits.images, digits.labels, groups=groups).score(digits.images, digits.labels) > 0.8


def test_counterexamples_differ_in_their_marked_pixels_alone(data: Shortcut) -> None:
    images, labels, masks = (torch.from_numpy(part) for part in (data.X, data.y, data.masks.copy()))
    masks[::3] = False
    made, classes = counterexamples(images, labels, masks, copies=2, seed=0)
    rows = torch.arange(300)[torch.arange(300) % 3 > 0].repeat(2)
    assert torch.equal(classes, labels[rows])
    outside = ~masks[rows][:, None]
    assert torch.equal(made[outside], images[rows][outside])
    drawn = made[~outside]
    assert images.min() <= drawn.min() and drawn.max() <= images.max()
    assert abs(float(drawn.mean() - (images.min() + images.max()) / 2)) < 0.02
    assert not torch.equal(made[:200], made[200:])
    clf = CounterexampleClassifier(**QUICK).fit(data.X, data.y, masks=data.masks.astype(float))
    assert clf.score(data.X, data.y) > 0.6


def test_groups_and_masks_are_routed(data: Shortcut) -> None:
    with config_context(enable_metadata_routing=True):
        subg = SUBGClassifier(**QUICK).set_fit_request(groups=True)
        rrr = GroundTruthRRRClassifier(**QUICK, align_epochs=1).set_fit_request(masks=True)
        for clf, told in ((subg, {"groups": data.groups}), (rrr, {"masks": data.masks})):
            assert np.isfinite(cross_val_score(clf, data.X, data.y, cv=2, params=told)).all()

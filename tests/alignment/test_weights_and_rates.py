"""Weights of images and classes, rates by layer, what decays, and the rise of the rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.model_selection import cross_val_score
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.data.weights import balanced_repeats, group_codes, row_weights


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)
    ).double()


def data(n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(
        n, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ), torch.arange(n) % 2


def weights_of(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_a_weight_counts_as_often_as_the_image_would() -> None:
    # One batch of all rows: a step by weights is a step on rows that come as often.
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    images, labels = data(6)
    times = torch.tensor([1, 3, 1, 2, 1, 4])
    options = TrainingOptions(1, batch_size=100, optimizer="sgd", lr=0.1)
    weighted = train(plain, images, labels, options, weights=times / times.double().mean(), seed=0).module
    repeated = train(
        plain, images.repeat_interleave(times, 0), labels.repeat_interleave(times), options, seed=0
    ).module
    torch.testing.assert_close(weights_of(weighted), weights_of(repeated))


def test_weights_of_the_alignment_set_count_in_its_cross_entropy() -> None:
    images, labels = data(6)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    options = TrainingOptions(1, batch_size=100, optimizer="sgd", lr=0.1, rrr_strength=0.0)
    ones = torch.ones(6, dtype=torch.float64)

    def aligned(weights: torch.Tensor) -> torch.Tensor:
        rows = AlignmentSet(images, labels, torch.zeros(6, 4, 4), weights=weights)
        return weights_of(
            train(plain, images, labels, options, alignment_set=rows, weights=ones, seed=0).module
        )

    without = aligned(torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64))
    assert not torch.allclose(aligned(ones), without)
    doubled = AlignmentSet(images, labels, torch.zeros(6, 4, 4))
    same = train(plain, images, labels, options, alignment_set=doubled, seed=0).module
    torch.testing.assert_close(aligned(ones), weights_of(same))


def test_row_weights_are_scikit_learns() -> None:
    labels, classes = np.array([0, 0, 0, 1, 1, 2]), np.array(["a", "b", "c"])
    for given in ("balanced", {"a": 2.0, "c": 0.5}):
        expected = compute_sample_weight(given, classes[labels])
        found = row_weights(labels, classes, given, None)
        np.testing.assert_allclose(found, expected / expected.mean())
    np.testing.assert_allclose(row_weights(labels, classes, "balanced", np.arange(6)).mean(), 1)
    assert row_weights(labels, classes, None, None) is None


@pytest.mark.parametrize(
    ("class_weight", "sample_weight", "message"),
    [
        ({"d": 1}, None, "'class_weight' argument must name classes.* Got 'd'"),
        (None, np.ones(5), r"'sample_weight' argument must have shape \(6,\). Got \(5,\)"),
        (None, -np.ones(6), "must give finite weights >= 0"),
        (None, np.zeros(6), "must give finite weights >= 0"),
        (None, np.full(6, np.nan), "must give finite weights >= 0"),
    ],
)
def test_wrong_weights(class_weight: Any, sample_weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row_weights(np.array([0, 0, 0, 1, 1, 2]), np.array(["a", "b", "c"]), class_weight, sample_weight)
    with pytest.raises(
        ValueError, match="'class_weight' argument must be None where y holds several findings"
    ):
        row_weights(np.zeros((6, 2), int), np.array(["a", "b"]), "balanced", None)


def test_fit_takes_weights_and_routes_them(blobs) -> None:
    X, y = blobs
    few = np.flatnonzero((y == 0) | (np.arange(60) < 4))
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :2] = True

    def make(**parameters: Any) -> LVLMVAClassifier:
        return LVLMVAClassifier(epochs=3, batch_size=8, random_state=0, **parameters)

    plain, balanced = make().fit(X[few], y[few]), make(class_weight="balanced").fit(X[few], y[few])
    assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.05
    given = make().fit(X[few], y[few], compute_sample_weight("balanced", y[few]))
    np.testing.assert_array_equal(given.predict_proba(X), balanced.predict_proba(X))
    clf = make(critic=OracleCritic(masks), n_align=10, align_epochs=2, class_weight={0: 1.0, 1: 5.0}).fit(
        X, y
    )
    assert clf.score(X, y) > 0.5
    with config_context(enable_metadata_routing=True):
        routed = make().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        scores = cross_val_score(routed, X, y, cv=2, params={"sample_weight": np.ones(60)})
        np.testing.assert_array_equal(scores, cross_val_score(make(), X, y, cv=2))


def test_validation_data_end_training_and_judge_alignment(blobs, tmp_path) -> None:
    X, y = blobs
    masks = np.zeros((40, 8, 8), bool)
    masks[:, :2] = True

    def fit(held: Any, **parameters: Any) -> LVLMVAClassifier:
        clf = LVLMVAClassifier(
            critic=OracleCritic(masks),
            n_align=10,
            epochs=4,
            align_epochs=2,
            batch_size=8,
            random_state=0,
            **parameters,
        )
        return clf.fit(X[:40], y[:40], validation_data=held)

    clf = fit((X[40:], y[40:]), run_dir=tmp_path)
    (trained,), (aligned,) = clf.history_["train"], clf.history_["align"]
    assert (len(trained.validation_loss), len(aligned.validation_accuracy)) == (len(trained.loss), 2)
    assert aligned.validation_accuracy[-1] == pytest.approx(clf.score(X[40:], y[40:]))
    assert clf.aligned_.comparison.accuracy.n == 20
    # Of wrong labels the loss rises from the first epoch on, which is kept.
    wrong = fit((X[40:], 1 - y[40:]), run_dir=tmp_path, lr=0.05).history_["train"][0].validation_loss
    assert wrong[0] == min(wrong)
    for held, error, message in (
        (X, TypeError, r"'validation_data' argument must be a pair \(X, y\)"),
        ((X[:, :, 1:], y), ValueError, "features|shape"),
        ((X, y[:3]), ValueError, "inconsistent|samples"),
    ):
        with pytest.raises(error, match=message):
            fit(held)


def test_rarer_classes_come_more_often(blobs) -> None:
    labels = torch.tensor([0] * 10 + [1] * 3 + [2])
    assert balanced_repeats(labels)[[0, 10, 13]].tolist() == [1, 3, 10]
    X, y = blobs
    few = np.flatnonzero((y == 0) | (np.arange(60) < 4))
    plain, often = (
        LVLMVAClassifier(epochs=3, batch_size=8, random_state=0, resample=resample).fit(X[few], y[few])
        for resample in (False, True)
    )
    assert often.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.05
    with pytest.raises(ValueError, match="'resample' argument must be False where y holds several findings"):
        LVLMVAClassifier(resample=True, epochs=1).fit(X, np.stack([y, 1 - y], 1) * [[1, 0]])


def test_a_patient_is_held_out_wholly(blobs) -> None:
    X, y = blobs
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :2] = True
    patients = np.repeat([f"patient {i}" for i in range(20)], 3)
    clf = LVLMVAClassifier(
        critic=OracleCritic(masks),
        n_align=30,
        epochs=2,
        align_epochs=2,
        batch_size=8,
        early_stopping=True,
        random_state=0,
    )
    clf.fit(X, y, patients=patients)
    kept = clf.alignment_data_.rows.numpy()
    held_out = np.setdiff1d(np.arange(60), kept)
    assert 0 < len(held_out) < 30
    assert not set(patients[kept]) & set(patients[held_out])
    for given, message in (
        (patients[:5], r"must have shape \(60,\)"),
        (["a"] * 60, "two or more. Got 'a' alone"),
    ):
        with pytest.raises(ValueError, match=message):
            clf.fit(X, y, patients=given)


@pytest.mark.parametrize("nobody", ["", None, float("nan")])
def test_images_of_nobody_known_are_not_of_one_patient(nobody) -> None:
    codes = group_codes(np.array(["a", nobody, "b", nobody, "a"], object), 5).tolist()
    assert codes[0] == codes[4]
    assert len(set(codes)) == 4


def test_frozen_parameters_and_their_statistics_stay() -> None:
    images, labels = data()
    module = net()
    options = TrainingOptions(2, batch_size=4, lr_factors={"1.*": 0, "2.*": 0})
    trained = train(module, images, labels, options, seed=0).module
    before, after = module.state_dict(), trained.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == (not name.startswith("4."))
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_rates_by_layer() -> None:
    images, labels = data()
    module = net()
    options = {"epochs": 1, "batch_size": 100, "optimizer": "sgd"}
    slow = train(
        module, images, labels, TrainingOptions(lr=0.1, lr_factors={"1.*": 0.1}, **options), seed=0
    ).module
    fast = train(module, images, labels, TrainingOptions(lr=0.1, **options), seed=0).module
    steps = [
        (found.state_dict()[name] - module.state_dict()[name])
        for found in (slow, fast)
        for name in ("1.weight", "4.weight")
    ]
    torch.testing.assert_close(steps[0], 0.1 * steps[2])
    torch.testing.assert_close(steps[1], steps[3])


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ({"head.*": 0.1}, ValueError, "'lr_factors' argument must name parameters.* Got 'head.*'"),
        ({"*": 0}, ValueError, "must leave parameters to train"),
        ({"1.*": -1}, ValueError, "'lr_factors' argument must be numbers >= 0"),
        ([0.1], TypeError, "'lr_factors' argument must map patterns"),
    ],
)
def test_wrong_factors(factors: Any, error: type[Exception], message: str) -> None:
    images, labels = data()
    with pytest.raises(error, match=message):
        train(net(), images, labels, TrainingOptions(1, lr_factors=factors), seed=0)


def test_names_are_those_of_the_users_own_net(blobs) -> None:
    X, y = blobs
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))
    clf = LVLMVAClassifier(module, preprocess={"mean": 0.5, "std": 0.5}, epochs=1, lr_factors={"1.*": 0})
    clf.fit(X.astype(np.float32), y)
    same = [torch.equal(clf.module_.state_dict()[name], value) for name, value in module.state_dict().items()]
    assert same == [True, True, False, False]


def test_only_weights_decay() -> None:
    module = net()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.5)
    images, labels = torch.zeros(8, 1, 4, 4, dtype=torch.float64), torch.arange(8) % 2
    for options in (
        TrainingOptions(3, lr=0.01, l2=0.1, optimizer="sgd", lr_factors={"*": 1.0}),
        TrainingOptions(3, lr=0.01, optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr), l2=0.1),
        TrainingOptions(3, lr=0.1, optimizer="adamw"),
    ):
        after = train(module, images, labels, options, seed=0).module
        # Images of zeros move no weight of the first layer: what it lost has decayed.
        assert (after[1].weight < 0.5).all()
        assert torch.equal(after[2].weight, module[2].weight)


def test_the_rate_rises_and_falls() -> None:
    rates = []

    def watched(optimizer: torch.optim.Optimizer, steps: int) -> Any:
        from lvlm_va.alignment.optimizers import SCHEDULES

        schedule = SCHEDULES["warmup_cosine"](optimizer, steps)
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return schedule

    images, labels = data(2)
    with pytest.raises(ZeroDivisionError):
        train(
            net(),
            images,
            labels,
            TrainingOptions(100, batch_size=2, lr=1.0, schedule=lambda o, s: watched(o, 100) and 1 / 0),
            seed=0,
        )
    assert np.argmax(rates) == 4
    assert rates[0] == pytest.approx(0.2, rel=0.01)
    assert rates[-1] < 0.01
    assert rates[:5] == sorted(rates[:5])

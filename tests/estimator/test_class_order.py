"""A trained net's logits have an order of their own, whatever its labels are called."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.comparison import ERMClassifier
from lvlm_va.critique import Critique
from lvlm_va.modules.class_order import better_order, given_order, order_of_checkpoint, sort_classes

N_EACH = 12


class ByBrightness(nn.Module):
    """Logit k is the largest for images of brightness k / n."""

    def __init__(self, n: int, names: dict[int, str] | None = None) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.arange(n) / n)
        if names is not None:
            self.config = SimpleNamespace(id2label=names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -1e3 * (x.mean((1, 2, 3))[:, None] - self.levels) ** 2


class NobodyAsked:
    name = "nobody"

    def critique(self, requests) -> list[Critique]:
        raise AssertionError("The critic was asked.")


def images_of(names: list) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightness k / n says that they are of the k-th of these classes."""
    k = np.repeat(np.arange(len(names)), N_EACH)
    noise = np.random.default_rng(0).uniform(0, 0.2 / len(names), (len(k), 1, 4, 4))
    return (k[:, None, None, None] / len(names) + noise).astype(np.float32), np.array(names)[k]


@pytest.mark.parametrize("names", [["normal", "malignant"], ["c", "a", "d", "b"], [1, 0], [True, False]])
def test_another_order_is_refused_before_anybody_is_asked_and_the_named_one_is_right(names):
    X, y = images_of(names)
    clf = LVLMVAClassifier(ByBrightness(len(names)), critic=NobodyAsked(), epochs=0, n_align=4)
    with pytest.raises(ValueError, match="'classes'") as refused:
        clf.fit(X, y)
    assert f"100% right with classes={names}" in str(refused.value)
    named = LVLMVAClassifier(ByBrightness(len(names)), classes=names, epochs=0).fit(X, y)
    assert named.classes_.tolist() == names
    assert named.score(X, y) == 1
    np.testing.assert_array_equal(named.predict_proba(X).argmax(1), np.repeat(np.arange(len(names)), N_EACH))
    np.testing.assert_array_equal(named.explain(X, y).target, np.repeat(np.arange(len(names)), N_EACH))


def test_masks_and_verdicts_are_of_the_given_classes():
    X, y = images_of(["normal", "malignant"])
    critic = RegionCritic({"malignant": {"irrelevant": ["corners"]}, "normal": {"relevant": ["corners"]}})
    clf = LVLMVAClassifier(
        ByBrightness(2), classes=["normal", "malignant"], critic=critic, epochs=0, align_epochs=1, n_align=6,
        lr=1e-6, random_state=0,
    ).fit(X, y)  # fmt: skip
    summary = clf.behaviour_summary()
    assert {found.label for found in summary.classes} <= {"normal", "malignant"}
    for critique, row in zip(clf.critiques_, clf.alignment_set_, strict=True):
        assert all(f"class {str(y[row])!r}" in verdict.reason for verdict in critique.verdicts)
    assert clf.score(X, y) == 1


def test_a_given_order_is_kept_with_a_warning():
    X, y = images_of(["normal", "malignant"])
    with pytest.warns(UserWarning, match=r"0% right.*classes=\['normal', 'malignant'\]"):
        clf = LVLMVAClassifier(ByBrightness(2), classes=["malignant", "normal"], epochs=0).fit(X, y)
    assert clf.score(X, y) == 0


def test_rivals_take_classes_too():
    X, y = images_of(["normal", "malignant"])
    assert (
        ERMClassifier(ByBrightness(2), classes=["normal", "malignant"], epochs=0).fit(X, y).score(X, y) == 1
    )
    with pytest.raises(ValueError, match="order of the classes"):
        ERMClassifier(ByBrightness(2), epochs=0).fit(X, y)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_names_in_a_checkpoint_give_the_order(wrapped):
    names = ["b", "c", "a"]
    X, y = images_of(names)
    net = ByBrightness(3, dict(enumerate(names)))
    clf = LVLMVAClassifier(nn.Sequential(nn.Identity(), net) if wrapped else net, epochs=0).fit(X, y)
    assert clf.classes_.tolist() == names
    assert clf.score(X, y) == 1


def test_names_in_a_checkpoint_that_are_no_labels():
    found = np.array(["a", "b"])
    with pytest.warns(UserWarning, match=r"id2label.*\['cat', 'dog'\]"):
        kept = order_of_checkpoint(ByBrightness(2, {0: "cat", 1: "dog"}), found, trained=True)
    assert kept.tolist() == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for names in ({0: "LABEL_0", 1: "LABEL_1"}, {}):
            order_of_checkpoint(ByBrightness(2, names), found, trained=True)
        order_of_checkpoint(ByBrightness(2, {0: "cat", 1: "dog"}), np.array([0, 1]), trained=True)
        order_of_checkpoint(ByBrightness(2, {0: "cat", 1: "dog"}), found, trained=False)


@given(st.sets(st.integers(-200, 200), min_size=2))
def test_numbers_are_ordered_as_numbers_also_as_text(numbers):
    assert sort_classes(np.array([str(number) for number in numbers])).tolist() == [
        str(n) for n in sorted(numbers)
    ]
    assert sort_classes(np.array([*numbers])).tolist() == sorted(numbers)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a"], r"Got no \['b'\]"),
        (["a", "b", "c"], r"Got \['c'\] though y has no image of them"),
        (["a", "b", "a"], r"Got \['a'\] twice"),
        ([0, 1], r"of type str. Got \[0, 1\] though"),
        ("ab", "must be a list of labels. Got the text 'ab'"),
    ],
)
def test_impossible_orders(classes, message):
    with pytest.raises(ValueError, match=f"'classes' argument.*{message}"):
        given_order(np.array(["a", "b"]), classes)


@settings(max_examples=30)
@given(st.integers(2, 6).flatmap(lambda n: st.permutations(range(n))), st.integers(0, 2**31))
def test_the_order_is_found_through_mistakes_and_never_where_there_is_none(order, seed):
    n, rng = len(order), np.random.default_rng(seed)
    true = np.repeat(np.arange(n), 60)
    mistaken = rng.uniform(size=len(true)) < 0.2
    logit = np.where(
        mistaken, rng.integers(0, n, len(true)), np.argsort(order)[true]
    )  # logit k stands for order[k]
    found = better_order(torch.from_numpy(true), torch.from_numpy(logit), n)
    if list(order) == sorted(order):
        assert found is None
    else:
        assert found[0].tolist() == list(order)
        assert found[1] < 0.2 < 0.6 < found[2]
    guessed = torch.from_numpy(rng.integers(0, n, len(true)))
    assert better_order(torch.from_numpy(true), guessed, n) is None
    assert better_order(torch.from_numpy(true), torch.zeros(len(true), dtype=torch.int64), n) is None

"""Alignment sets: the right images, once each, the same every time."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va import sampling
from lvlm_va.sampling import entropy, select_alignment_set

PROBABILITIES = np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
LABELS = np.array([0, 0, 0, 1, 1, 1])
NAMES = ["low_entropy", "high_entropy", "random", "class_balanced"]


def test_docstrings_hold():
    assert doctest.testmod(sampling).failed == 0


def test_entropy_is_scipys():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), 20)
    np.testing.assert_allclose(entropy(probabilities), scipy.stats.entropy(probabilities, axis=1), rtol=1e-12)


def test_entropy_of_a_certain_and_of_a_uniform_prediction():
    np.testing.assert_allclose(
        entropy([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]), [0.0, np.log(3)], rtol=1e-12
    )


def test_entropy_takes_float32_tensors():
    probabilities = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert entropy(probabilities).dtype == np.float64


def test_low_entropy_takes_the_most_confident_ties_by_index():
    assert select_alignment_set("low_entropy", PROBABILITIES, LABELS, 4).tolist() == [2, 0, 5, 3]


def test_high_entropy_takes_the_least_confident():
    assert select_alignment_set("high_entropy", PROBABILITIES, LABELS, 3).tolist() == [1, 4, 3]


def test_class_balanced_takes_as_many_of_each():
    assert select_alignment_set("class_balanced", PROBABILITIES, LABELS, 4).tolist() == [2, 5, 0, 3]


def test_class_balanced_fills_up_where_a_class_runs_out():
    labels = np.array(["common", "common", "common", "common", "common", "rare"])
    chosen = select_alignment_set("class_balanced", PROBABILITIES, labels, 4)
    assert chosen.tolist() == [2, 5, 0, 3]


def test_random_depends_on_the_seed_alone():
    first = select_alignment_set("random", PROBABILITIES, LABELS, 4, random_state=3)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - to see that it is left alone
    assert first.tolist() == select_alignment_set("random", PROBABILITIES, LABELS, 4, random_state=3).tolist()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    others = [select_alignment_set("random", PROBABILITIES, LABELS, 4, random_state=s) for s in range(9)]
    assert any(other.tolist() != first.tolist() for other in others)


@pytest.mark.parametrize("sampler", NAMES)
@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=20)
def test_indices_are_distinct_and_as_many_as_asked(sampler, data):
    n = data.draw(st.integers(1, 12))
    n_align = data.draw(st.integers(1, n))
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    probabilities = rng.dirichlet(np.ones(3), n).round(1)
    probabilities[:, 0] += 1 - probabilities.sum(1)
    probabilities = probabilities.clip(0)
    chosen = select_alignment_set(sampler, probabilities, labels, n_align, random_state=0)
    assert chosen.dtype == np.int64
    assert len(set(chosen.tolist())) == n_align
    assert set(chosen.tolist()) <= set(range(n))
    if sampler == "class_balanced":
        taken, there = np.bincount(labels[chosen], minlength=4), np.bincount(labels, minlength=4)
        # Only a class that has run out is more than one image behind another.
        assert all(t == m or t >= taken.max() - 1 for t, m in zip(taken, there, strict=True))


def test_a_callable_gets_everything_and_is_obeyed():
    def last_of_class_one(probabilities, labels, n_align, rng):
        assert isinstance(rng, np.random.RandomState)
        assert probabilities.shape == (6, 2)
        return np.flatnonzero(labels == 1)[::-1][:n_align]

    assert select_alignment_set(last_of_class_one, PROBABILITIES, LABELS, 2).tolist() == [5, 4]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ([0, 0], ValueError, r"must return distinct indices. Got 1 distinct ones among 2"),
        ([0, 6], ValueError, r"must return indices from 0 to 5. Got 0 to 6"),
        ([-1, 0], ValueError, r"must return indices from 0 to 5. Got -1 to 0"),
        ([0], ValueError, r"must return 2 indices, shape \(2,\). Got shape \(1,\)"),
        ([[0, 1]], ValueError, r"Got shape \(1, 2\)"),
        ([0.0, 1.0], TypeError, r"must return integer indices. Got float64"),
        ([True, False], TypeError, r"must return integer indices. Got bool"),
        (None, TypeError, r"must return integer indices"),
    ],
)
def test_a_callable_is_checked(returned, error, message):
    with pytest.raises(error, match=message):
        select_alignment_set(lambda *_: returned, PROBABILITIES, LABELS, 2)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"sampler": "low-entropy"}, ValueError, r"'sampler' argument must be one of .* 'low_entropy'"),
        ({"sampler": 3}, TypeError, r"'sampler' argument must be a name or a callable .* Got int"),
        ({"n_align": 7}, ValueError, r"between 1 and the number of images, 6. Got 7"),
        ({"n_align": 0}, ValueError, r"between 1 and the number of images, 6. Got 0"),
        ({"n_align": 2.0}, TypeError, r"'n_align' argument must be an integer. Got 2.0"),
        ({"n_align": True}, TypeError, r"'n_align' argument must be an integer"),
        ({"labels": [0, 1]}, ValueError, r"'labels' argument must have shape \(6,\).* Got \(2,\)"),
        ({"probabilities": [0.5, 0.5]}, ValueError, r"'probabilities' argument must have shape \(n, K\)"),
        ({"probabilities": PROBABILITIES * 3}, ValueError, r"rows that sum to 1.* Apply softmax"),
        ({"probabilities": PROBABILITIES * np.nan}, ValueError, r"finite and >= 0"),
        ({"probabilities": PROBABILITIES - 0.5}, ValueError, r"finite and >= 0"),
    ],
)
def test_arguments_are_checked(changed, error, message):
    arguments = {
        "sampler": "random",
        "probabilities": PROBABILITIES,
        "labels": LABELS,
        "n_align": 2,
    } | changed
    with pytest.raises(error, match=message):
        select_alignment_set(**arguments)


def test_numpy_integers_are_integers():
    assert len(select_alignment_set("random", PROBABILITIES, LABELS, np.int64(3), random_state=0)) == 3

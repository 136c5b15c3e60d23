"""Who is in which group, and draws that are balanced over them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.comparison.groups import Groups, resolve_groups
from lvlm_va.data.training_data import TrainingData

sizes = st.lists(st.integers(2, 30), min_size=1, max_size=6)


def data(labels: list[int]) -> TrainingData:
    names = tuple(f"c{k}" for k in range(max(labels) + 1))
    ids = tuple(str(i) for i in range(len(labels)))
    return TrainingData(torch.zeros(len(labels), 1, 2, 2), torch.tensor(labels), names, ids)


def make(sizes: list[int], rng: np.random.Generator) -> Groups:
    numbers = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return Groups(numbers, tuple(str(k) for k in range(len(sizes))))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(sizes=sizes, seed=st.integers(0, 1000))
def test_balanced_draws_hold_the_smallest_group_of_each(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = make(sizes, rng)
    rows = groups.balanced(rng)
    assert groups.take(rows).sizes.tolist() == [min(sizes)] * len(sizes)
    assert len(np.unique(rows)) == len(rows)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(sizes=sizes, share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_split_takes_a_share_of_each_group(sizes: list[int], share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = make(sizes, rng)
    drawn, rest = groups.split(share, rng, at_least=2)
    assert sorted([*drawn, *rest]) == list(range(sum(sizes)))
    assert groups.take(drawn).sizes.tolist() == [max(2, round(share * size)) for size in sizes]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(sizes=sizes, seed=st.integers(0, 1000))
def test_repeats_even_the_groups_out(sizes: list[int], seed: int) -> None:
    groups = make(sizes, np.random.default_rng(seed))
    repeats = groups.evening_repeats()
    shown = np.bincount(groups.numbers, weights=repeats)
    assert (abs(shown - max(sizes)) <= groups.sizes / 2).all()
    assert (repeats[groups.numbers == groups.sizes.argmax()] == 1).all()


def test_draws_differ_and_are_random() -> None:
    rng = np.random.default_rng(0)
    groups = make([5, 50], rng)
    one, two = groups.balanced(rng), groups.balanced(rng)
    assert set(one) != set(two)
    large = np.flatnonzero(groups.numbers == 1)
    assert set(one[groups.numbers[one] == 1]) != set(large[:5])


def test_names_within_a_class_are_the_groups() -> None:
    groups = resolve_groups(["x", "y", "z", "z"], data([0, 0, 1, 1]))
    assert groups.names == ("x", "y", "z")
    assert groups.numbers.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("values", [[0, 1, 0, 1], torch.tensor([0, 1, 0, 1]), np.array([False, True] * 2)])
def test_values_that_classes_share_are_paired_with_the_class(values) -> None:
    groups = resolve_groups(values, data([0, 0, 1, 1]))
    assert groups.numbers.tolist() == [0, 1, 2, 3]
    assert [name.split("/")[0] for name in groups.names] == ["c0", "c0", "c1", "c1"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, r"hold the group of each of 4 images. Got None instead; pass fit\(X, y, groups=...\)"),
        (["a", "b"], r"Got shape \(2,\) instead"),
        (["a", "b", "a", "a"], r"every pair of class and value.*Got none of \['c1/b'\]"),
        (["a", "a", "b", "b"], r"two groups of one class apart. Got one group for each class, \['a', 'b'\]"),
        (["a", "a", "a", "a"], r"two groups of one class apart. Got one group for each class, \['a'\]"),
        (["a", "b", np.nan, "b"], r"Got None or NaN for 1 of them, the first in row 2"),
        (["a", None, None, "b"], r"Got None or NaN for 2 of them, the first in row 1"),
        (np.array([0, np.nan, 0, 1]), r"Got None or NaN for 1 of them, the first in row 1"),
        (torch.tensor([0, 1, 0, torch.nan]), r"Got None or NaN for 1 of them, the first in row 3"),
        (pd.Series(["a", "b", "a", pd.NA]), r"Got None or NaN for 1 of them, the first in row 3"),
    ],
)
def test_errors(groups, message: str) -> None:
    with pytest.raises(ValueError, match=f"'groups' argument must .*{message}"):
        resolve_groups(groups, data([0, 0, 1, 1]))

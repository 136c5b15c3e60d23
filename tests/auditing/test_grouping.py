"""Few groups of small families, their examples, and what becomes of a group that is split."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.auditing.grouping import find_groups, halve, typical_members
from lvlm_va.auditing.regions import RegionTable, join_tables


def table(kinds: list[int], seed: int = 0, n_images: int = 20) -> RegionTable:
    """Regions of some kinds, which differ in place, looks and in what the net makes of them."""
    rng, of = np.random.default_rng(seed), np.array(kinds)
    n = len(of)

    def around(width: int) -> np.ndarray:
        centres = np.random.default_rng(7).uniform(0, 1, (8, width))
        return (centres[of] + rng.normal(0, 0.02, (n, width))).astype(np.float32)

    rows = rng.integers(0, n_images, n)
    parts = around(2), around(1)[:, 0] + 1, around(4), around(5)
    none = torch.empty(0, 4, 4)
    return RegionTable(rows, np.ones(n, np.int64), of % 2, np.full(n, 0.1), *parts, none.byte(), none.half())


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_groups_and_halves_hold_each_region_once(n_kinds, n, seed):
    regions = table(np.repeat(np.arange(n_kinds), 12).tolist(), seed)
    groups = find_groups(regions, n, seed=seed)
    assert 1 <= len(groups) <= n
    assert np.array_equal(np.sort(np.concatenate([g.members for g in groups])), np.arange(len(regions)))
    for group in groups:
        halves = halve(regions, group, seed=seed)
        assert len(halves) == 2
        assert np.array_equal(
            np.sort(np.concatenate([half.members for half in halves])), np.sort(group.members)
        )
        examples = typical_members(regions, group, 6, seed=seed)
        assert 1 <= len(examples) <= 6
        assert set(examples) <= set(group.members)
        assert len(np.unique(regions.rows[examples])) == len(examples)
        of_all, of_first = np.bincount(regions.targets[group.members]), regions.targets[examples[0]]
        assert of_all[of_first] == of_all.max()


def test_a_group_of_two_kinds_shows_both_and_falls_into_them():
    regions = table([0] * 60 + [2] * 15)
    (group,) = find_groups(regions, 1)
    examples = typical_members(regions, group, 6)
    assert {*(examples >= 60).tolist()} == {True, False}
    large, small = halve(regions, group)
    assert (large.members.tolist(), small.members.tolist()) == ([*range(60)], [*range(60, 75)])


def test_what_is_small_or_all_alike_is_not_split():
    few = table([0] * 5)
    assert halve(few, find_groups(few, 1)[0]) == ()
    one = table([0] * 12).select(np.zeros(12, np.int64))
    assert halve(one, find_groups(one, 1)[0]) == ()


def test_portions_are_joined_as_if_they_were_one():
    whole = table([0, 1, 2, 3, 4, 5], n_images=3)
    whole.rows.sort()
    parts = [whole.select(np.flatnonzero(whole.rows == row)) for row in range(3)]
    for part in parts:
        part.rows[:] = 0
    joined = join_tables(parts, [1, 1, 1])
    assert all(np.array_equal(getattr(joined, name), value) for name, value in vars(whole).items())

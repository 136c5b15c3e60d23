from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.alignment.mixing import BatchPlan, plan_batches

CPU = torch.device("cpu")


def _plan(n_plain: int, n_aligned: int, batch_size: int, fraction: float) -> BatchPlan:
    return plan_batches(n_plain, torch.arange(n_aligned) % 3 > 0, batch_size, fraction)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    n_plain=st.integers(1, 200),
    n_aligned=st.integers(0, 60),
    batch_size=st.integers(2, 64),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**64 - 1),
)
def test_an_epoch_shows_each_image_once_and_alignment_images_evenly(
    n_plain: int, n_aligned: int, batch_size: int, fraction: float, seed: int
) -> None:
    plan = _plan(n_plain, n_aligned, batch_size, fraction)
    batches = plan.epoch(seed, CPU, CPU)
    assert len(batches) == plan.steps
    plain = torch.cat([batch.plain for batch in batches])
    assert torch.equal(plain.sort().values, torch.arange(n_plain))
    counts = torch.zeros(n_aligned, dtype=torch.int64)
    for batch in batches:
        assert bool(plan.marked[batch.marked].all()) and not bool(plan.marked[batch.unmarked].any())
        rows = torch.cat([batch.unmarked, batch.marked])
        assert len(rows) >= (n_aligned > 0)
        counts += rows.bincount(minlength=n_aligned)
    if n_aligned:
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("fraction", "aligned"), [(0.5, 128), (0.25, 64), (0.9, 230), (0.001, 1), (0.999, 255)]
)
def test_full_batches_hold_the_fraction(fraction: float, aligned: int) -> None:
    plan = _plan((256 - aligned) * 5, 10, 256, fraction)
    assert plan.plain_sizes == (256 - aligned,) * 5
    assert plan.alignment_sizes == (aligned,) * 5


def test_smaller_batches_hold_it_too() -> None:
    plan = _plan(150, 10, 200, 0.5)
    assert plan.plain_sizes == (75, 75)
    assert plan.alignment_sizes == (75, 75)


def test_fraction_one_leaves_the_plain_images_out() -> None:
    batches = _plan(100, 20, 8, 1.0).epoch(0, CPU, CPU)
    assert all(not len(batch.plain) for batch in batches)
    rows = torch.cat([part for batch in batches for part in (batch.unmarked, batch.marked)])
    assert torch.equal(rows.sort().values, torch.arange(20))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(n=st.integers(2, 300), batch_size=st.integers(2, 64))
def test_no_batch_of_plain_training_has_a_single_row(n: int, batch_size: int) -> None:
    sizes = _plan(n, 0, batch_size, 0.5).plain_sizes
    assert sum(sizes) == n
    assert min(sizes) >= 2
    assert max(sizes) <= batch_size + 1
    assert max(sizes) - min(sizes) <= 1


def test_batch_size_one_is_taken_at_its_word() -> None:
    assert _plan(3, 0, 1, 0.5).plain_sizes == (1, 1, 1)
    with pytest.raises(ValueError, match="'batch_size' argument must be at least 2"):
        _plan(3, 2, 1, 0.5)


def test_seeds_decide() -> None:
    plan = _plan(50, 7, 16, 0.5)
    first, same, other = (plan.epoch(seed, CPU, CPU)[0] for seed in (1, 1, 2))
    assert torch.equal(first.plain, same.plain) and torch.equal(first.marked, same.marked)
    assert not torch.equal(first.plain, other.plain)


@pytest.mark.parametrize("n_marked", [0, 3, 30])
def test_expects_as_many_batches_with_marked_rows_as_come(n_marked: int) -> None:
    plan = plan_batches(120, torch.arange(30) < n_marked, batch_size=8, align_fraction=0.5)
    came = [sum(len(batch.marked) > 0 for batch in plan.epoch(seed, CPU, CPU)) for seed in range(200)]
    assert plan.expected_marked_steps == pytest.approx(sum(came) / len(came), rel=0.1)

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lvlm_va.alignment import AlignmentSet, RisingStrength, TrainingOptions, train
from lvlm_va.alignment.strength import LARGEST_START, FixedStrength
from tests.alignment.nets import seeded, shortcut_data

ONE = torch.tensor(1.0)


def _values(
    strength: RisingStrength, n: int, penalty: float = 1e6, cross_entropy: float = 1.0
) -> list[float]:
    values = []
    for _ in range(n):
        values.append(strength.update(ONE * penalty, ONE * cross_entropy))
        strength.step(marked=True)
    return values


def test_starts_where_both_terms_are_equal_but_not_above_the_limit() -> None:
    strength = RisingStrength(1000)
    assert strength.value == 0
    assert not strength.known
    assert strength.update(ONE * 4e5, ONE * 2) == pytest.approx(5e-6, rel=1e-6)
    assert strength.known
    assert RisingStrength(1000).update(ONE * 1e-9, ONE) == pytest.approx(LARGEST_START)


def test_rises_by_one_factor_to_1_in_a_fifth_of_the_run_and_stays() -> None:
    values = _values(RisingStrength(1000), 1000)
    factors = [after / before for before, after in itertools.pairwise(values[:201])]
    assert values[0] == pytest.approx(1e-6)
    assert factors == pytest.approx([1e6 ** (1 / 200)] * 200)
    assert values[200:] == pytest.approx([1.0] * 800)


def test_waits_in_batches_without_marked_rows() -> None:
    strength = RisingStrength(1000)
    strength.step(marked=False)
    values = _values(strength, 5)
    for _ in range(100):
        strength.step(marked=False)
    assert [*values, *_values(strength, 5)] == _values(RisingStrength(1000), 10)


def test_rises_no_faster_than_a_net_can_follow() -> None:
    values = _values(RisingStrength(10), 10)
    assert values == pytest.approx([1e-6 * math.exp(0.1 * k) for k in range(10)])


@given(st.floats(0, 1e30), st.floats(0, 1e3), st.integers(1, 10**6), st.integers(0, 50))
def test_never_sinks_nor_exceeds_1(penalty: float, cross_entropy: float, total: int, n: int) -> None:
    values = _values(RisingStrength(total), n + 1, penalty, cross_entropy)
    assert values == sorted(values)
    assert 0 < values[0] <= LARGEST_START * (1 + 1e-9)
    assert values[-1] <= 1 + 1e-9


def test_state_goes_on_where_it_stopped() -> None:
    first, second = RisingStrength(100), RisingStrength(100)
    _values(first, 7)
    second.load_state_dict(first.state_dict())
    assert _values(second, 20, penalty=1.0) == _values(first, 20, penalty=3.0)


def test_fixed_strength_stays() -> None:
    strength = FixedStrength(0.5)
    assert strength.known
    strength.step(marked=True)
    assert strength.update(ONE, ONE) == 0.5
    strength.load_state_dict(strength.state_dict())
    assert strength.value == 0.5


@pytest.mark.parametrize("seed", range(2))
def test_auto_frees_a_net_of_its_shortcut(seed: int) -> None:
    images, labels = shortcut_data(200)
    net = seeded(seed, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 2)))
    unaligned = train(net, images, labels, TrainingOptions(epochs=30, batch_size=32, lr=5e-3), seed=0).module
    masks = torch.zeros(20, 4, 4)
    masks[:, 0, 0] = 1
    options = TrainingOptions(epochs=30, batch_size=32, lr=5e-3)
    result = train(
        unaligned,
        images,
        labels,
        options,
        alignment_set=AlignmentSet(images[:20], labels[:20], masks),
        seed=0,
    )
    flipped = images.clone()
    flipped[:, 0, 0, 0] = 1 - flipped[:, 0, 0, 0]
    right = {
        name: (module(flipped).argmax(1) == labels).float().mean()
        for name, module in (("before", unaligned), ("after", result.module))
    }
    assert right["before"] < 0.7
    assert right["after"] > 0.9
    assert result.history.penalty[-1] < result.history.penalty[0] / 100

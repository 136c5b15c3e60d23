from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet, SteeredStrength, TrainingOptions, train
from lvlm_va.alignment.strength import LARGEST_START, FixedStrength
from tests.alignment.nets import seeded, shortcut_data

ONE = torch.tensor(1.0)


def _mask() -> Tensor:
    mask = torch.zeros(2, 4, 4)
    mask[:, 0, 0] = 1
    return mask


def _gradient(marked: float, others: float) -> Tensor:
    gradient = torch.full((2, 1, 4, 4), float(others))
    gradient[:, :, 0, 0] = marked
    return gradient


def _follow(ratios: list[float], mask: Tensor | None = None) -> list[float]:
    strength = SteeredStrength(1000, ONE)
    mask = _mask() if mask is None else mask
    return [float(strength.update(_gradient(math.sqrt(r), 1.0), mask, ONE * 1e6, ONE).log()) for r in ratios]


def test_starts_where_both_terms_are_equal_but_not_above_the_limit() -> None:
    strength = SteeredStrength(10**9, ONE)
    assert float(strength.value) == 0
    assert float(strength.update(_gradient(1, 1), _mask(), ONE * 4e5, ONE * 2)) == pytest.approx(
        5e-6, rel=1e-4
    )
    fresh = SteeredStrength(10**9, ONE).update(_gradient(1, 1), _mask(), ONE * 1e-9, ONE)
    assert float(fresh) == pytest.approx(LARGEST_START, rel=1e-4)


def test_rises_while_marked_pixels_matter_and_sinks_once_they_do_not() -> None:
    loud, quiet = _follow([1.0] * 5), _follow([1e-6] * 5)
    step = 20 / 1000
    assert loud[-1] - loud[0] == pytest.approx(4 * step, rel=1e-3)
    assert quiet[-1] - quiet[0] == pytest.approx(-4 * step, rel=1e-3)


def test_waits_while_marked_pixels_get_quieter_by_themselves() -> None:
    values = _follow([1.0] * 20 + [0.1 * 0.9**k for k in range(20)])
    assert values[-1] == values[-10]


def test_rises_no_faster_than_the_cross_entropy_bears() -> None:
    strength = SteeredStrength(1000, ONE)

    def values(cross_entropies: list[float]) -> list[float]:
        return [
            float(strength.update(_gradient(1, 1), _mask(), ONE * 1e6, ONE * c).log())
            for c in cross_entropies
        ]

    calm, growing = values([0.1] * 20), values([0.1 + 0.02 * k for k in range(40)])
    recovered = values([0.9] * 1500)
    assert calm[-1] - calm[-2] == pytest.approx(20 / 1000, rel=1e-3)
    assert growing[-1] < growing[-2]
    assert recovered[-1] - recovered[-2] == pytest.approx(20 / 1000, rel=1e-3)


def test_ratio_has_no_unit() -> None:
    strengths = []
    for scale in (1.0, 1e4):
        strength = SteeredStrength(1000, ONE)
        for r in (1.0, 0.5, 1e-5):
            value = strength.update(scale * _gradient(r, 1.0), _mask(), ONE * 1e6, ONE)
        strengths.append(float(value))
    assert strengths[0] == pytest.approx(strengths[1], rel=1e-5)


@pytest.mark.parametrize("mask", [torch.ones(2, 4, 4), torch.zeros(2, 4, 4)])
def test_stays_finite_without_gradient_or_without_other_pixels(mask: Tensor) -> None:
    strength = SteeredStrength(10, ONE)
    for gradient in (_gradient(0, 0), _gradient(1, 0), _gradient(0, 1)):
        assert torch.isfinite(strength.update(gradient, mask, ONE * 0, ONE * 0))


def test_state_goes_on_where_it_stopped() -> None:
    first = SteeredStrength(100, ONE)
    first.update(_gradient(1, 1), _mask(), ONE, ONE)
    second = SteeredStrength(100, ONE)
    second.load_state_dict(first.state_dict())
    arguments = (_gradient(0.5, 1), _mask(), ONE, ONE)
    assert torch.equal(first.update(*arguments), second.update(*arguments))


def test_fixed_strength_stays() -> None:
    strength = FixedStrength(0.5, ONE)
    assert float(strength.update(_gradient(1, 1), _mask(), ONE, ONE)) == 0.5
    strength.load_state_dict(strength.state_dict())
    assert float(strength.value) == 0.5


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

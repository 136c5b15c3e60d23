"""Derivatives written out for chains of linear maps and rectifiers, against autograd's."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lvlm_va.alignment import TrainingOptions, batch_gradient, train
from lvlm_va.alignment.dense_net import dense_layers
from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.objective import BatchLoss, TrainingRows, batch_loss
from lvlm_va.alignment.strength import FixedStrength, RisingStrength
from tests.alignment.nets import alignment_set, data, seeded
from tests.tolerances import OP

DOUBLE = dict(zip(("rtol", "atol"), OP[torch.float64], strict=True))

CHAINS: dict[str, Callable[[], nn.Module]] = {
    "two hidden layers": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    ),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
    "no bias, nested": lambda: nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(16, 8, bias=False), nn.ReLU(inplace=True)),
        nn.Linear(8, 3, bias=False),
    ),
    "rectifiers at both ends": lambda: nn.Sequential(
        nn.Flatten(), nn.ReLU(), nn.Linear(16, 8), nn.Linear(8, 3), nn.ReLU()
    ),
}


def rows(n_plain: int) -> TrainingRows:
    images, labels = data(max(n_plain, 1), dtype=torch.float64)
    aligned = alignment_set(6, dtype=torch.float64)
    return TrainingRows(images, labels, aligned, torch.device("cpu"), torch.float64)


def both(module: nn.Module, n_plain: int) -> list[tuple[BatchLoss, list[Tensor]]]:
    """The terms and gradients by autograd, and written out."""
    these = rows(n_plain)
    assert these.alignment is not None
    marked = these.alignment.masks.flatten(1).any(1)
    batch = Batch(torch.arange(n_plain), (~marked).nonzero()[:, 0], marked.nonzero()[:, 0])
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    results = []
    for layers in (None, dense_layers(module)):
        terms = batch_loss(module, these, batch, FixedStrength(0.3), layers=layers)
        results.append((terms, torch.autograd.grad(2 * terms.loss, trained)))
    return results


@pytest.mark.parametrize("n_plain", [0, 5])
@pytest.mark.parametrize("name", CHAINS)
def test_equals_autograd(name: str, n_plain: int) -> None:
    module = seeded(0, CHAINS[name]).double()
    assert dense_layers(module) is not None
    (expected, by_autograd), (terms, written_out) = both(module, n_plain)
    for field in ("loss", "cross_entropy_sum", "penalty_sum", "n_correct"):
        torch.testing.assert_close(getattr(terms, field), getattr(expected, field), **DOUBLE)
    torch.testing.assert_close(written_out, by_autograd, **DOUBLE)


@given(
    widths=st.lists(st.integers(1, 6), max_size=3), seed=st.integers(0, 99), frozen=st.sets(st.integers(0, 7))
)
def test_equals_autograd_for_any_widths_and_frozen_parameters(
    widths: list[int], seed: int, frozen: set[int]
) -> None:
    def build() -> nn.Module:
        pairs = itertools.pairwise([16, *widths, 3])
        layers = [part for sizes in pairs for part in (nn.Linear(*sizes), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *layers[:-1])

    module = seeded(seed, build).double()
    for i, parameter in enumerate(list(module.parameters())[1:]):
        parameter.requires_grad_(i not in frozen)
    (_, by_autograd), (_, written_out) = both(module, 4)
    torch.testing.assert_close(written_out, by_autograd, **DOUBLE)


class Doubled(nn.Linear):
    """A linear map by its name, not by what it does."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked(register: str) -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    getattr(module[1], register)(lambda *args: None)
    return module


def tied() -> nn.Module:
    layer = nn.Linear(16, 16)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)


def patched() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    module[1].forward = lambda x: 2 * x[:, :3]
    return module


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(16, 3),
        nn.Sequential(),
        nn.Sequential(nn.Flatten()),
        nn.Sequential(nn.Flatten(0), nn.Linear(16, 3)),
        nn.Sequential(nn.Linear(4, 3), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.GELU()),
        nn.Sequential(nn.Flatten(), Doubled(16, 3)),
        nn.Sequential(nn.Flatten(), torch.nn.utils.parametrizations.weight_norm(nn.Linear(16, 3)), nn.ReLU()),
        hooked("register_forward_hook"),
        hooked("register_forward_pre_hook"),
        hooked("register_full_backward_hook"),
        tied(),
        patched(),
    ],
)
def test_leaves_other_modules_to_autograd(module: nn.Module) -> None:
    assert dense_layers(module) is None


def test_leaves_all_to_autograd_while_a_global_hook_watches() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    handle = nn.modules.module.register_module_forward_hook(lambda *args: None)
    try:
        assert dense_layers(module) is None
    finally:
        handle.remove()
    assert dense_layers(module) is not None


def test_tells_the_strength_what_autograd_tells_it() -> None:
    module = seeded(0, CHAINS["two hidden layers"]).double()
    these, none = rows(5), torch.empty(0, dtype=torch.int64)
    batch = Batch(torch.arange(5), none, torch.tensor([0, 1]))
    values = []
    for layers in (None, dense_layers(module)):
        strength = RisingStrength(10)
        for _ in range(3):
            batch_loss(module, these, batch, strength, layers=layers)
        values.append(strength.value)
    assert values[1] == pytest.approx(values[0], rel=1e-9)


def test_a_run_trains_as_with_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = data(12, dtype=torch.float64)
    aligned = alignment_set(6, dtype=torch.float64)
    options = TrainingOptions(epochs=3, batch_size=4, rrr_strength="auto")
    seen, results = [], []
    for find in (dense_layers, lambda module: None):
        monkeypatch.setattr(
            batch_gradient, "dense_layers", lambda module, find=find: seen.append(find(module)) or seen[-1]
        )
        module = seeded(0, CHAINS["two hidden layers"]).double()
        results.append(train(module, images, labels, options, alignment_set=aligned, seed=0))
    assert [layers is None for layers in seen] == [False] * 3 + [True] * 3
    written_out, by_autograd = (list(result.module.parameters()) for result in results)
    torch.testing.assert_close(written_out, by_autograd, rtol=1e-9, atol=1e-9)

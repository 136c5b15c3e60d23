"""One logit, and several findings: held against the same nets written as two logits, and as a net for each finding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvlm_va.alignment import (
    AlignmentSet,
    RightReasonsLoss,
    TrainingOptions,
    right_reasons_penalty,
    train,
)

N, K = 12, 3


class Sided(nn.Module):
    """The two-logit net that says what a one-logit net says."""

    def __init__(self, net: nn.Module, *, low: float) -> None:
        super().__init__()
        self.net, self.low = net, low

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.net(images)
        return torch.cat([self.low * z, (1 + self.low) * z], 1)


class Column(nn.Module):
    """One of a net's logits."""

    def __init__(self, net: nn.Module, k: int) -> None:
        super().__init__()
        self.net, self.k = net, k

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)[:, self.k : self.k + 1]


def make_net(n_logits: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, n_logits)).double()


@pytest.fixture
def rows():
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(N, 2, 4, 4, generator=draw, dtype=torch.float64)
    findings = torch.randint(0, 2, (N, K), generator=draw)
    masks = (torch.rand(N, 4, 4, generator=draw) > 0.5).double()
    return images, findings, masks


@pytest.mark.parametrize("low", [-0.5, 0.0])
def test_one_logit_is_penalised_as_the_same_net_with_two(rows, low):
    images, _, masks = rows
    net = make_net(1)
    images.requires_grad_()
    one = right_reasons_penalty(net(images), images, masks)
    two = right_reasons_penalty(Sided(net, low=low)(images), images, masks)
    assert bool((one > 0).all())
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("low", [-0.5, 0.0])
def test_one_logit_trains_as_the_same_net_with_two(rows, low):
    images, findings, masks = rows
    labels = findings[:, 0]
    options = TrainingOptions(epochs=3, batch_size=8, lr=1e-2, rrr_strength=1.0, validation_fraction=0.25)
    aligned = AlignmentSet(images[:6], labels[:6], masks[:6])
    net = make_net(1)
    one, two = (
        train(module, images, labels, options, alignment_set=aligned, seed=0)
        for module in (net, Sided(net, low=low))
    )
    for left, right in zip(one.module.parameters(), two.module.parameters(), strict=True):
        torch.testing.assert_close(left, right)
    for curve in ("loss", "penalty", "accuracy", "validation_loss", "validation_accuracy"):
        assert getattr(one.history, curve) == pytest.approx(getattr(two.history, curve)), curve
    assert one.history.penalty[0] > 0


def test_a_net_may_return_a_number_per_image(rows):
    images, findings, _ = rows
    net, options = make_net(1), TrainingOptions(epochs=2, batch_size=4)
    flat, column = nn.Sequential(net, nn.Flatten(0)), net
    one, two = (train(module, images, findings[:, 0], options, seed=0) for module in (flat, column))
    assert one.history.loss == two.history.loss


def test_the_penalty_of_a_finding_is_that_of_its_own_one_logit_net(rows):
    images, _, masks = rows
    net, about = make_net(K), torch.arange(N) % K
    images.requires_grad_()
    found = right_reasons_penalty(net(images), images, masks, about)
    for k in range(K):
        alone = right_reasons_penalty(Column(net, k)(images), images, masks)
        torch.testing.assert_close(found[about == k], alone[about == k])


def test_findings_cost_the_mean_of_what_they_cost_as_nets_of_their_own(rows):
    images, findings, masks = rows
    net, about = make_net(K), torch.arange(N) % K
    together = RightReasonsLoss(2.0)(net, images, findings, masks, findings=about)
    alone = []
    for k in range(K):
        own = masks * (about == k)[:, None, None]
        alone.append(RightReasonsLoss(2.0)(Column(net, k), images, findings[:, k], own))
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_what_is_masked_for_one_finding_may_go_on_counting_for_another():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    images, masks = torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64), torch.tensor([[[1.0, 0.0]]])
    images.requires_grad_()
    first, second = (
        right_reasons_penalty(net(images), images, masks.double(), torch.tensor([k])).item() for k in (0, 1)
    )
    assert first > 0 == second


@pytest.mark.parametrize("n_logits", [1, K])
def test_gradients_of_the_penalty(rows, n_logits):
    images, _, masks = rows
    images, masks = images[:4], masks[:4]
    about = torch.tensor([0, 1, 2, 1]) if n_logits > 1 else None

    def penalty(weight: torch.Tensor) -> torch.Tensor:
        inputs = images.clone().requires_grad_()
        logits = torch.tanh(inputs.flatten(1)) @ weight
        return right_reasons_penalty(logits, inputs, masks, about)

    weight = torch.randn(32, n_logits, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(penalty, weight.requires_grad_())


def test_alignment_of_findings_resumes_bit_for_bit(rows, tmp_path):
    images, findings, masks = rows
    aligned = AlignmentSet(images[[0, 0, 1]], findings[[0, 0, 1]], masks[:3], torch.tensor([0, 2, 1]))
    options = TrainingOptions(epochs=4, batch_size=8)
    whole = train(make_net(K), images, findings, options, alignment_set=aligned, seed=0)

    def stop(history):
        if len(history.loss) == 2:
            raise KeyboardInterrupt

    path = {"checkpoint_path": tmp_path / "run.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        train(make_net(K), images, findings, options, alignment_set=aligned, seed=0, on_epoch=stop, **path)
    resumed = train(make_net(K), images, findings, options, alignment_set=aligned, seed=0, **path)
    assert resumed.history.loss == whole.history.loss
    for left, right in zip(whole.module.parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(left, right)


def test_labels_that_do_not_fit(rows):
    images, findings, masks = rows
    with pytest.raises(
        ValueError, match=r"'labels' argument must hold a column for each of the module's 2 logits"
    ):
        train(make_net(2), images, findings, seed=0)
    with pytest.raises(
        ValueError, match=r"'labels' argument must lie in 0 to 1, the module's outputs. Got 2"
    ):
        train(make_net(1), images, torch.arange(N) % 3, seed=0)
    with pytest.raises(ValueError, match=r"of 0 and 1. Got 2 among them"):
        train(make_net(K), images, findings + 1, seed=0)
    with pytest.raises(
        TypeError, match=r"'alignment_set.findings' argument must be an int64 tensor of shape \(12,\)"
    ):
        train(make_net(K), images, findings, alignment_set=AlignmentSet(images, findings, masks), seed=0)
    wrong = AlignmentSet(images, findings, masks, torch.arange(N))
    with pytest.raises(ValueError, match=r"which finding, from 0 to 2, each mask is about. Got 0 to 11"):
        train(make_net(K), images, findings, alignment_set=wrong, seed=0)
    with pytest.raises(ValueError, match=r"'alignment_set.labels' argument must be of as many findings"):
        train(
            make_net(K), images, findings, alignment_set=AlignmentSet(images, findings[:, 0], masks), seed=0
        )
    with pytest.raises(TypeError, match=r"'findings' argument must be an int64 tensor"):
        RightReasonsLoss(1.0)(make_net(K), images, findings, masks)
    with pytest.raises(ValueError, match=r"'findings' argument must be None"):
        RightReasonsLoss(1.0)(make_net(2), images, findings[:, 0], masks, findings=findings[:, 0])

"""Attributions equal captum's wherever captum is right: plain module activations, each used once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvlm_va.attribution import DeepLiftShap, GradientXInput, IntegratedGradients
from tests.attribution import nets
from tests.tolerances import CAPTUM_RELATIVE

attr = pytest.importorskip("captum.attr")

IMAGES, REFERENCES = nets.rand(4, 3, 16, 16), nets.rand(5, 3, 16, 16, seed=1)
TARGET = torch.tensor([0, 3, 9, 3])


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    theirs = theirs.detach()
    assert float((ours - theirs).abs().max() / theirs.abs().max()) <= CAPTUM_RELATIVE


@pytest.mark.filterwarnings("ignore::UserWarning:captum", "ignore:Setting forward:UserWarning")
@pytest.mark.parametrize(
    "net",
    [
        nets.mlp(),
        # Each pool stands between linear layers. Beside a ReLU captum takes stale gradients, and where image
        # and reference agree in a pool's input, as behind a ReLU, the first image's for the whole batch.
        nn.Sequential(
            nn.Conv2d(3, 6, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 8, 1),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 10),
        ),
        nets.mlp(nn.ELU),
        nets.mlp(nn.LeakyReLU),
        nets.mlp(nn.Sigmoid),
        nets.mlp(nn.Tanh),
        nets.mlp(nn.Softplus),
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(7), nn.Flatten(), nn.Linear(16, 10)
        ),
    ],
    ids=["mlp", "max pools", "elu", "leaky_relu", "sigmoid", "tanh", "softplus", "batch_norm"],
)
def test_deeplift_shap(net: nn.Module) -> None:
    net = nets.randomised(net)
    theirs = attr.DeepLiftShap(net).attribute(IMAGES, REFERENCES, target=TARGET)
    ours = DeepLiftShap().attribute(net, IMAGES, TARGET, REFERENCES)
    assert_equal(ours.attributions, theirs)


def test_integrated_gradients() -> None:
    net = nets.randomised(nets.mlp(nn.Tanh))
    engine = attr.IntegratedGradients(net)
    theirs = sum(
        engine.attribute(IMAGES, reference[None].expand_as(IMAGES), target=TARGET, n_steps=20)
        for reference in REFERENCES
    ) / len(REFERENCES)
    ours = IntegratedGradients(n_steps=20).attribute(net, IMAGES, TARGET, REFERENCES)
    assert_equal(ours.attributions, theirs)


def test_gradient_x_input() -> None:
    net = nets.randomised(nets.mlp())
    theirs = attr.InputXGradient(net).attribute(IMAGES.clone().requires_grad_(), target=TARGET).detach()
    assert_equal(GradientXInput().attribute(net, IMAGES, TARGET, REFERENCES).attributions, theirs)

"""Attributions of every kind of net sum up to the difference of its logits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvlm_va.attribution import DeepLiftShap
from tests.attribution import nets
from tests.tolerances import COMPLETENESS

ACTIVATIONS = {
    "celu": nn.CELU(2.0),
    "elu": nn.ELU(0.7),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "glu": nn.GLU(1),
    "group_norm": nn.GroupNorm(2, 6),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(inplace=True),
    "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "instance_norm": nn.InstanceNorm2d(6),
    "layer_norm": nn.LayerNorm(14),
    "leaky_relu": nn.LeakyReLU(0.1, inplace=True),
    "local_response_norm": nn.LocalResponseNorm(3),
    "log_sigmoid": nn.LogSigmoid(),
    "log_softmax": nn.LogSoftmax(1),
    "mish": nn.Mish(),
    "prelu": nn.PReLU(6),
    "relu6": nn.ReLU6(),
    "rms_norm": nn.RMSNorm(14),
    "selu": nn.SELU(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "softmax": nn.Softmax(1),
    "softplus": nn.Softplus(2.0),
    "softshrink": nn.Softshrink(0.1),
    "softsign": nn.Softsign(),
    "tanh": nn.Tanh(),
    "tanhshrink": nn.Tanhshrink(),
}
NETS = {
    "mlp": nets.mlp,
    "lenet": nets.lenet,
    "gelu mlp": lambda: nets.mlp(nn.GELU),
    "silu mlp": lambda: nets.mlp(nn.SiLU),
    "basic resnet": lambda: nets.huggingface_resnet("basic"),
    "bottleneck resnet": lambda: nets.huggingface_resnet("bottleneck"),
    "reused in-place resnet": nets.ReusedInPlaceResNet,
    "functional": nets.Functional,
    "attention": lambda: nets.Attention(batch_first=True),
    "attention, batch second": lambda: nets.Attention(batch_first=False),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 10)),
}


def relative_error(module: nn.Module, dtype: torch.dtype, n: int = 5, n_references: int = 4) -> float:
    explanation = DeepLiftShap().attribute(
        nets.randomised(module, dtype=dtype),
        nets.rand(n, 3, 16, 16),
        torch.arange(n) % 10,
        nets.rand(n_references, 3, 16, 16, seed=1),
    )
    assert explanation.attributions.dtype == dtype
    assert float(explanation.output_scale.min()) > 1e-4
    return explanation.relative_completeness_error()


@pytest.mark.parametrize("dtype", COMPLETENESS, ids=str)
@pytest.mark.parametrize("name", NETS)
def test_nets(name: str, dtype: torch.dtype) -> None:
    assert relative_error(NETS[name](), dtype) <= COMPLETENESS[dtype]


@pytest.mark.parametrize("dtype", COMPLETENESS, ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_normalisations(name: str, dtype: torch.dtype) -> None:
    net = nets.convolutional(ACTIVATIONS[name], 3 if name == "glu" else 6)
    assert relative_error(net, dtype) <= COMPLETENESS[dtype]


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 1, 1),
        nn.MaxPool2d(2, 3, dilation=2, ceil_mode=True),
        nn.AdaptiveMaxPool2d(5),
        nn.Sequential(nn.Flatten(2), nn.MaxPool1d(5, 2, 2)),
        nn.Sequential(nn.Unflatten(2, (2, 7)), nn.MaxPool3d((2, 3, 3), 1, (0, 1, 1))),
    ],
    ids=["overlapping", "dilated", "adaptive", "1d", "3d"],
)
def test_max_pools(pool: nn.Module) -> None:
    size = pool(torch.zeros(1, 6, 14, 14)).numel()
    net = nn.Sequential(nn.Conv2d(3, 6, 3), pool, nn.Flatten(), nn.ReLU(), nn.Linear(size, 10))
    assert relative_error(net, torch.float64) <= COMPLETENESS[torch.float64]


@pytest.mark.parametrize(("n", "n_references"), [(1, 1), (1, 3), (3, 1), (4, 4)])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_batch_is_found_in_every_layout(n: int, n_references: int, batch_first: bool) -> None:
    error = relative_error(nets.Attention(batch_first), torch.float64, n, n_references)
    assert error <= COMPLETENESS[torch.float64]


def test_references_of_each_image() -> None:
    module = nets.randomised(nets.ReusedInPlaceResNet())
    images, references = nets.rand(3, 3, 16, 16), nets.rand(2, 3, 3, 16, 16, seed=1)
    target = torch.tensor([1, 2, 3])
    together = DeepLiftShap().attribute(module, images, target, references)
    assert together.relative_completeness_error() <= COMPLETENESS[torch.float64]
    for i in range(3):
        alone = DeepLiftShap().attribute(module, images[i : i + 1], target[i : i + 1], references[:, i])
        torch.testing.assert_close(together.attributions[i : i + 1], alone.attributions)


def test_an_mlp_against_the_formula() -> None:
    module = nets.randomised(nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3)))
    images, references = nets.rand(4, 3, 2, 2), nets.rand(6, 3, 2, 2, seed=1)
    target = torch.tensor([0, 1, 2, 1])
    (_, first, _, second) = module
    u, r = first(images.flatten(1)), first(references.flatten(1))[:, None]
    slope = (u.relu() - r.relu()) / (u - r)
    multipliers = ((slope * second.weight[target]) @ first.weight).detach()
    expected = ((images.flatten(1) - references.flatten(1)[:, None]) * multipliers).mean(0)
    explanation = DeepLiftShap().attribute(module, images, target, references)
    torch.testing.assert_close(explanation.attributions.flatten(1), expected)
    logits = module(images).gather(1, target[:, None])[:, 0].detach()
    differences = logits - module(references).detach()[:, target]
    torch.testing.assert_close(explanation.output_difference, differences.mean(0))
    torch.testing.assert_close(explanation.output_scale, differences.abs().mean(0))


def test_no_images() -> None:
    explanation = DeepLiftShap().attribute(
        nets.mlp(), torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64), torch.zeros(2, 3, 16, 16)
    )
    assert explanation.attributions.shape == (0, 3, 16, 16)
    assert explanation.relative_completeness_error() == 0


def test_an_image_that_is_its_own_reference() -> None:
    image = nets.rand(1, 3, 16, 16)
    explanation = DeepLiftShap().attribute(nets.randomised(nets.lenet()), image, torch.tensor([0]), image)
    assert not explanation.attributions.any()
    assert explanation.relative_completeness_error() == 0

"""Find the last linear map of a net, see its inputs, and replace it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvlm_va.comparison.last_layer import embed, find_last_layer, set_last_layer
from lvlm_va.modules.build import build_module
from lvlm_va.modules.built_in import BUILT_IN
from lvlm_va.modules.logits import predict_logits

IMAGES = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_embeddings_times_the_layer_are_the_logits(name: str) -> None:
    net = build_module(name, (1, 28, 28), 3, seed=0, default_dtype=torch.float32)
    layer = find_last_layer(net, IMAGES[:2])
    embeddings = embed(net, layer, IMAGES, batch_size=2)
    logits = predict_logits(net, IMAGES, batch_size=5)
    torch.testing.assert_close(
        embeddings @ layer.weight.double().t() + layer.bias.double(), logits, rtol=1e-4, atol=1e-5
    )
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    weight, bias = torch.rand(3, embeddings.shape[1]).double(), torch.rand(3).double()
    set_last_layer(layer, weight, bias)
    torch.testing.assert_close(
        predict_logits(net, IMAGES, batch_size=5), embeddings @ weight.t() + bias, rtol=1e-4, atol=1e-4
    )


def test_layer_without_bias_gets_one() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 2, bias=False))
    layer = find_last_layer(net, IMAGES)
    set_last_layer(layer, torch.zeros(2, 784).double(), torch.tensor([1.0, 2.0]).double())
    assert net(IMAGES)[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(784, 2), nn.Tanh()),
        nn.Sequential(nn.Conv2d(1, 2, 28), nn.Flatten()),
    ],
)
def test_module_that_ends_in_something_else(net: nn.Module) -> None:
    with pytest.raises(ValueError, match="'module' argument must end in a torch.nn.Linear.*Got a Sequential"):
        find_last_layer(net, IMAGES)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "norm",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm, nn.utils.weight_norm],
)
def test_a_weight_that_is_computed_from_others_cannot_be_put_in_place(norm) -> None:
    net = nn.Sequential(nn.Flatten(), norm(nn.Linear(784, 2)))
    with pytest.raises(ValueError, match="weight is a parameter of its own"):
        find_last_layer(net, IMAGES)

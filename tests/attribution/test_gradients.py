"""Integrated gradients and gradient times input, and the names of all methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lvlm_va.attribution import (
    DeepLiftShap,
    GradientXInput,
    IntegratedGradients,
    concatenate_explanations,
    resolve_attributor,
)
from tests.attribution import nets

IMAGES, REFERENCES = nets.rand(5, 3, 16, 16), nets.rand(3, 3, 16, 16, seed=1)
TARGET = torch.arange(5)


def test_integrated_gradients_is_complete_for_a_smooth_net() -> None:
    net = nets.randomised(nets.mlp(nn.Tanh))
    errors = [
        IntegratedGradients(n_steps).attribute(net, IMAGES, TARGET, REFERENCES).relative_completeness_error()
        for n_steps in (1, 4, 16)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_integrated_gradients_with_references_of_each_image() -> None:
    net = nets.randomised(nets.mlp(nn.Tanh))
    own = nets.rand(2, 5, 3, 16, 16, seed=2)
    together = IntegratedGradients(5).attribute(net, IMAGES, TARGET, own).attributions
    alone = IntegratedGradients(5).attribute(net, IMAGES[3:4], TARGET[3:4], own[:, 3]).attributions
    torch.testing.assert_close(together[3:4], alone)


def test_gradient_x_input_is_complete_without_biases_and_against_zeros_only() -> None:
    net = nets.randomised(nets.mlp())
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer.bias.data.zero_()
    black = torch.zeros(1, 3, 16, 16)
    assert GradientXInput().attribute(net, IMAGES, TARGET, black).relative_completeness_error() < 1e-10
    assert GradientXInput().attribute(net, IMAGES, TARGET, REFERENCES).relative_completeness_error() > 0.1


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (IntegratedGradients(3, batch_size=2), IntegratedGradients(3)),
        (GradientXInput(batch_size=2), GradientXInput()),
    ],
)
def test_batch_size_does_not_matter(small: Any, large: Any) -> None:
    net = nets.randomised(nets.lenet())
    one, other = (method.attribute(net, IMAGES, TARGET, REFERENCES).attributions for method in (small, large))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("method", [IntegratedGradients(2), GradientXInput()], ids=lambda m: m.name)
def test_no_images(method: Any) -> None:
    explanation = method.attribute(
        nets.mlp(), torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64), REFERENCES
    )
    assert explanation.attributions.shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deeplift_shap", DeepLiftShap),
        ("integrated_gradients", IntegratedGradients),
        ("gradient_x_input", GradientXInput),
    ],
)
def test_names(name: str, kind: type) -> None:
    attributor = resolve_attributor(name)
    assert isinstance(attributor, kind)
    assert attributor.name == name
    explanation = attributor.attribute(
        nets.randomised(nets.mlp(nn.Tanh)), IMAGES[:1], TARGET[:1], REFERENCES[:1]
    )
    assert explanation.method == name


def test_objects_pass_through() -> None:
    attributor = DeepLiftShap(max_memory=10)
    assert resolve_attributor(attributor) is attributor


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError, match="'attribution' argument must be one of.*Did you mean 'deeplift_shap'"
    ):
        resolve_attributor("deepliftshap")
    with pytest.raises(TypeError, match="an object with a method 'attribute'. Got 3 instead"):
        resolve_attributor(3)
    with pytest.raises(TypeError, match="an object with a method 'attribute'"):
        resolve_attributor(DeepLiftShap)


@pytest.mark.parametrize("value", [0, -3, 2.5, True])
def test_bad_parameters(value: Any) -> None:
    with pytest.raises(ValueError, match="The 'n_steps' argument must be a positive integer"):
        IntegratedGradients(n_steps=value)
    with pytest.raises(ValueError, match="The 'batch_size' argument must be a positive integer"):
        GradientXInput(batch_size=value)


def test_explanations_are_concatenated() -> None:
    net = nets.randomised(nets.mlp(nn.Tanh))
    whole = GradientXInput().attribute(net, IMAGES, TARGET, REFERENCES)
    parts = [
        GradientXInput().attribute(net, IMAGES[rows], TARGET[rows], REFERENCES)
        for rows in (slice(2), slice(2, 5))
    ]
    joined = concatenate_explanations(parts)
    assert joined.method == whole.method
    assert torch.equal(joined.target, whole.target)
    torch.testing.assert_close(joined.attributions, whole.attributions)
    torch.testing.assert_close(joined.output_difference, whole.output_difference)

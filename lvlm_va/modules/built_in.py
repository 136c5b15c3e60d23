"""The nets that ``module`` may name."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from lvlm_va.data.stored_images import ImageShape


def mlp(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Return the 50-30 ReLU net that Ross et al. (2017) used on Decoy-MNIST."""
    width = math.prod(image_shape)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, n_classes)
    )


def cnn(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Return a small convolutional net for grey or colour images of any size."""
    return nn.Sequential(
        nn.Conv2d(image_shape[0], 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(64 * 49, 128),
        nn.ReLU(),
        nn.Linear(128, n_classes),
    )


def resnet8(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Return an untrained ResNet-8 of half the usual width, for small images."""
    return _resnet(image_shape, n_classes, widths=[32, 64, 128], depths=[1, 1, 1])


def resnet18(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Return an untrained ResNet-18 (transformers' implementation)."""
    return _resnet(image_shape, n_classes, widths=[64, 128, 256, 512], depths=[2, 2, 2, 2])


def _resnet(image_shape: ImageShape, n_classes: int, *, widths: list[int], depths: list[int]) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_channels=image_shape[0],
        embedding_size=widths[0],
        hidden_sizes=widths,
        depths=depths,
        layer_type="basic",
    )
    config.num_labels = n_classes
    return ResNetForImageClassification(config)


def default_net(image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Return the net behind ``module=None``: one wide hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(image_shape), 256), nn.ReLU(), nn.Linear(256, n_classes)
    )


BUILT_IN: dict[str, Callable[[ImageShape, int], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet8": resnet8,
    "resnet18": resnet18,
}

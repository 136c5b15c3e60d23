"""The nets that are timed: plain modules, each used once, so that captum and shap are right on them too.

No max-pool: in ResNet's stem its windows overlap, and there captum and shap attribute wrongly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.attribution.nets import randomised

N_CLASSES = 10


def _convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n_out)
    )


class _Block(nn.Module):
    """A residual block: convolutions with a ReLU between them, added to their input, and a last ReLU."""

    def __init__(self, n_in: int, n_out: int, stride: int, convolutions: list[nn.Module]) -> None:
        super().__init__()
        layers = [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]
        self.branch = nn.Sequential(*layers[:-1])
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(n_in, n_out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def _basic(n_in: int, width: int, stride: int) -> _Block:
    return _Block(n_in, width, stride, [_convolution(n_in, width, 3, stride), _convolution(width, width, 3)])


def _bottleneck(n_in: int, width: int, stride: int) -> _Block:
    convolutions = [
        _convolution(n_in, width, 1),
        _convolution(width, width, 3, stride),
        _convolution(width, 4 * width, 1),
    ]
    return _Block(n_in, 4 * width, stride, convolutions)


def _resnet(depths: list[int], bottleneck: bool) -> nn.Module:
    layers: list[nn.Module] = [_convolution(3, 64, 7, 2), nn.ReLU()]
    n_in = 64
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        for index in range(depth):
            stride = 2 if stage and not index else 1
            layers.append((_bottleneck if bottleneck else _basic)(n_in, width, stride))
            n_in = 4 * width if bottleneck else width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, N_CLASSES)]
    return nn.Sequential(*layers, *head)


def resnet18(dtype: torch.dtype = torch.float32) -> nn.Module:
    """ResNet-18 without its max-pool, with random weights and BatchNorm statistics."""
    return randomised(_resnet([2, 2, 2, 2], bottleneck=False), dtype=dtype)


def resnet50(dtype: torch.dtype = torch.float32) -> nn.Module:
    """ResNet-50 without its max-pool, likewise."""
    return randomised(_resnet([3, 4, 6, 3], bottleneck=True), dtype=dtype)


def mlp(dtype: torch.dtype = torch.float32) -> nn.Module:
    """The 784-50-30-10 net of Ross et al. (2017), with random weights."""
    layers = [nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, N_CLASSES)]
    return randomised(nn.Sequential(nn.Flatten(), *layers), dtype=dtype)


def convnet(channels: int = 1) -> nn.Module:
    """Three small convolutions for any image size, with random weights."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((channels, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, N_CLASSES)]
    return randomised(nn.Sequential(*layers, *head), dtype=torch.float32)

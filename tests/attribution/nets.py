"""Small nets of every kind that attribution must take as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def randomised(module: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Fill a module's parameters and running statistics from a seed."""
    generator = torch.Generator().manual_seed(seed)
    module = module.to(torch.float64).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / fan_in**0.5
            )
        for child in module.modules():
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.running_var is not None:
                child.running_mean.copy_(torch.randn(child.num_features, generator=generator))
                child.running_var.copy_(0.5 + torch.rand(child.num_features, generator=generator))
                if child.weight is not None:
                    child.weight.copy_(0.5 + torch.rand(child.num_features, generator=generator))
    return module.to(dtype)


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(768, 50), activation(), nn.Linear(50, 30), activation(), nn.Linear(30, 10)
    )


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 20),
        nn.ReLU(),
        nn.Linear(20, 10),
    )


def convolutional(activation: nn.Module, channels: int = 6) -> nn.Module:
    """Return a net around one activation, with an overlapping max-pool behind it."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        activation,
        nn.Conv2d(channels, 4, 3, stride=2),
        nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
        nn.Linear(36, 10),
    )


class _Block(nn.Module):
    def __init__(self, width: int, relu: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class ReusedInPlaceResNet(nn.Module):
    """A residual net with one in-place ReLU for every place, and the overlapping stem of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(_Block(8, self.relu), _Block(8, self.relu))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(self.relu(self.stem(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Functional(nn.Module):
    """Every spelling of a call: functions, methods, operators, in place and not, reused values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.squeeze, self.excite = nn.Linear(6, 3), nn.Linear(3, 6)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2).sub_(1)
        h = torch.relu(self.conv1(x))
        before = self.conv2(h)
        after = F.relu(before)
        before += 1  # what the ReLU saw is changed after it
        h = F.relu(before, inplace=True) + after.relu_() + torch.relu_(h - 0.1)
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(h.mean((2, 3))), inplace=True)))
        h *= gate[:, :, None, None]
        h = h / (1 + h.abs().sum(1, keepdim=True))
        values, _ = h.flatten(2).max(2)
        pooled = torch.maximum(values, h.amax((2, 3)) * 0.9) + F.normalize(h.mean((2, 3)), dim=1)
        return self.head(torch.cat([pooled, F.max_pool2d(h, 3, 2, dilation=2).clamp(0.01, 2).sum((2, 3))], 1))


class Attention(nn.Module):
    """A transformer layer of torch over image rows, the batch first or second."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.layer = nn.TransformerEncoderLayer(16, 4, 24, activation="gelu", batch_first=batch_first)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)
        if self.batch_first:
            return self.head(self.layer(tokens).mean(1))
        return self.head(self.layer(tokens.transpose(0, 1)).mean(0))


class WithLogits(nn.Module):
    """A net of transformers as it is used alone: its output has logits among other things."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).logits


def huggingface_resnet(layer_type: str) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16],
            depths=[2, 2],
            layer_type=layer_type,
            id2label=dict.fromkeys(range(10), ""),
        )
    )

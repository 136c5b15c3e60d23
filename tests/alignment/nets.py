"""Small nets and data that the alignment tests share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet

SHAPE = (1, 4, 4)


def smooth_net(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A net with second derivatives everywhere."""
    return seeded(seed, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.GELU(), nn.Linear(6, 3))).to(
        dtype
    )


def batch_norm_net(seed: int = 0) -> nn.Module:
    """A net with state besides its parameters, and randomness in its forward."""
    return seeded(
        seed,
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(64, 3),
        ),
    )


class AttentionNet(nn.Module):
    """Pixels as tokens, in one layer of fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(1, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        query, key, value = self.project(images.flatten(2).transpose(1, 2)).unsqueeze(1).chunk(3, dim=-1)
        return self.head(F.scaled_dot_product_attention(query, key, value).mean((1, 2)))


def data(n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Random images and labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *SHAPE, generator=generator, dtype=dtype), torch.randint(
        3, (n,), generator=generator
    )


def alignment_set(n: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> AlignmentSet:
    """Random images of which every third has an empty mask."""
    images, labels = data(n, seed, dtype)
    masks = torch.zeros(n, *SHAPE[1:], dtype=dtype)
    masks[:, :2, :2] = 1
    masks[::3] = 0
    return AlignmentSet(images, labels, masks)


def shortcut_data(n: int) -> tuple[Tensor, Tensor]:
    """Two classes told by a bright first pixel, and less easily by the other three rows."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = torch.rand(n, *SHAPE, generator=generator)
    images[:, 0, 1:] = images[:, 0, 1:] * 0.6 + 0.4 * labels[:, None, None]
    images[:, 0, 0, 0] = labels.float()
    return images, labels


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all that a module holds."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_equal_states(first: nn.Module | dict[str, Tensor], second: nn.Module | dict[str, Tensor]) -> None:
    """Fail unless both hold the same bits."""
    one, other = (part.state_dict() if isinstance(part, nn.Module) else part for part in (first, second))
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a net with first weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()

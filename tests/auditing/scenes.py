"""Images with a bright tag at the top left and an object in the middle, and nets that read one or both."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

TAG, OBJECT = (slice(1, 4), slice(1, 4)), (slice(10, 15), slice(10, 15))


def scene(
    n: int = 160, seed: int = 0, *, tagged: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images (n, 1, 24, 24), their classes, and masks of the tags, which all of class 1 have."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.uniform(0.1, 0.2, (n, 1, 24, 24)).astype(np.float32)
    masks = np.zeros((n, 24, 24), bool)
    for i, label in enumerate(labels):
        images[i, 0, *OBJECT] += (0.3 if label else 0.1) + rng.uniform(0, 0.1)
        if label and tagged:
            images[i, 0, *TAG] += 0.7
            masks[i, *TAG] = True
    return torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(masks)


class Reads(nn.Module):
    """Two logits, or one, by the mean brightness of tag and object."""

    def __init__(self, tag: float, object_: float, *, one: bool = False) -> None:
        super().__init__()
        weights = torch.zeros(24, 24)
        weights[TAG] = tag / 9
        weights[OBJECT] = object_ / 25
        self.linear = nn.Linear(24 * 24, 1)
        with torch.no_grad():
            self.linear.weight.copy_(weights.view(1, -1))
            # Halfway between the classes.
            self.linear.bias.fill_(-(tag * 0.5 + object_ * 0.4))
        self.one = one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.linear(x.flatten(1))
        return z if self.one else torch.cat([-z, z], 1)


class Diffuse(nn.Module):
    """Two logits by the brightness of the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(40.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.scale * (x.mean((1, 2, 3)) - 0.26)
        return torch.stack([-z, z], 1)

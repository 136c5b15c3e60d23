"""Attribution maps whose segments are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

# (row, column, standard deviation, share of the effect), in pixels
Blob = tuple[float, float, float, float]


def blobs(shape: tuple[int, int], *parts: Blob) -> Tensor:
    """Return one attribution map (1, 1, H, W), float64: round Gaussian blobs far from each other's tails."""
    height, width = shape
    row = torch.arange(height, dtype=torch.float64)[:, None]
    column = torch.arange(width, dtype=torch.float64)
    total = torch.zeros(height, width, dtype=torch.float64)
    for centre_row, centre_column, std, share in parts:
        bell = torch.exp(-((row - centre_row) ** 2 + (column - centre_column) ** 2) / (2 * std**2))
        total += share * bell / bell.sum()
    return total.where(total > 1e-9, 0)[None, None]


def single_pixels(shape: tuple[int, int], pixels: Sequence[tuple[int, int, float]]) -> Tensor:
    """Return one attribution map (1, 1, H, W), float64, with effect in single pixels only."""
    attributions = torch.zeros(1, 1, *shape, dtype=torch.float64)
    for row, column, value in pixels:
        attributions[0, 0, row, column] = value
    return attributions


def noise(seed: int, n: int, channels: int, height: int, width: int, density: float) -> Tensor:
    """Return (n, C, H, W) float64 attributions: normal noise in a share `density` of the values."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, channels, height, width))
    return torch.from_numpy(values * (rng.random(values.shape) < density))


attribution_maps = st.builds(
    noise,
    seed=st.integers(0, 10**6),
    n=st.integers(0, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)

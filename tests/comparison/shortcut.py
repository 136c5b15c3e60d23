"""A small task with a shortcut: noisy stripes decide the class, a bright corner agrees with it in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Shortcut:
    """Images of shape (n, 1, 8, 8), labels, masks of the corner, and groups such as ``"1/corner"``."""

    X: np.ndarray
    y: np.ndarray
    masks: np.ndarray
    groups: np.ndarray


def shortcut(n: int, agreement: float, seed: int) -> Shortcut:
    """Return `n` images; in class 1 the corner is bright with probability `agreement`, in class 0 with the rest."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    bright = np.where(rng.uniform(size=n) < agreement, y, 1 - y)
    X = rng.uniform(0.1, 0.6, (n, 1, 8, 8))
    rows = slice(3, 8)
    X[:, 0, rows] += 0.07 * np.where(y == 1, 1, -1)[:, None, None] * np.tile([1, -1], 4)
    X[bright == 1, 0, :3, :3] += 0.3
    masks = np.zeros((n, 8, 8), bool)
    masks[:, :3, :3] = True
    groups = np.array(
        [f"{label}/{'corner' if lit else 'plain'}" for label, lit in zip(y, bright, strict=True)]
    )
    return Shortcut(X.astype(np.float32), y, masks, groups)

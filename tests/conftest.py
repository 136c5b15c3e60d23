"""Data small enough to fit an estimator in about a second."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before SciPy: scikit-learn skips one of its checks without it

import numpy as np
import pytest

from lvlm_va.datasets import DecoyData, decoy_digits


@pytest.fixture(scope="session")
def digits() -> DecoyData:
    """Return 200 decoyed digits of all ten classes."""
    data = decoy_digits("train")
    return DecoyData(data.images[:200], data.labels[:200], data.masks[:200], data.groups[:200])


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Return 60 grey 1x8x8 images of two classes: bright on the left, or on the right."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.uniform(0, 0.3, (60, 1, 8, 8))
    X[y == 0, :, :, :4] += 0.6
    X[y == 1, :, :, 4:] += 0.6
    return X, y

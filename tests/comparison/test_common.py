"""scikit-learn's whole check battery for every rival, without an expected failure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from lvlm_va.comparison import (
    CounterexampleClassifier,
    DFRClassifier,
    ERMClassifier,
    GroundTruthRRRClassifier,
    GroupDROClassifier,
    JTTClassifier,
    SUBGClassifier,
)


# The battery passes labels only: groups and masks that need nothing else take their places.
def every_second(y) -> np.ndarray:
    """Return two groups of nearly equal size in each class that is large enough."""
    y = np.asarray(y).ravel()
    ranks = np.zeros(len(y), int)
    for label, size in zip(*np.unique(y, return_counts=True), strict=True):
        if size > 3:
            ranks[y == label] = np.arange(size) % 2
    return np.array([f"{label}/{rank}" for label, rank in zip(y, ranks, strict=True)])


class Grouped:
    def fit(self, X, y=None, *, groups=None):
        if groups is None and y is not None:
            groups = every_second(y)
        return super().fit(X, y, groups=groups)


class Masked:
    def fit(self, X, y=None, *, masks=None):
        shape = np.shape(np.asarray(X))
        if masks is None and len(shape) == 2:
            masks = np.zeros((shape[0], 1, shape[1]), bool)
            masks[..., :1] = True
        return super().fit(X, y, masks=masks)


class GroupedDFR(Grouped, DFRClassifier): ...


class GroupedSUBG(Grouped, SUBGClassifier): ...


class GroupedDRO(Grouped, GroupDROClassifier): ...


class MaskedRRR(Masked, GroundTruthRRRClassifier): ...


class MaskedCounterexample(Masked, CounterexampleClassifier): ...


@pytest.fixture(autouse=True)
def allow_any_error_set(monkeypatch):
    monkeypatch.setattr("lvlm_va.comparison.jtt.NEARLY_ALL", 1.0)


# The battery's features are no pixels.
@pytest.mark.filterwarnings("ignore:The 'X' argument should hold images in:UserWarning")
@parametrize_with_checks(
    [
        ERMClassifier(),
        MaskedRRR(),
        MaskedCounterexample(),
        # One that has learned nothing errs on something, however easy the data.
        JTTClassifier(identification_epochs=0, upweight=1),
        GroupedDFR(n_fits=2, Cs=(1.0,)),
        GroupedSUBG(),
        GroupedDRO(),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)

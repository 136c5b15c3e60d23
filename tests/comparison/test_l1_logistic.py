"""The l1 solvers against scikit-learn's slowest and against the conditions of optimality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lvlm_va.comparison.l1_logistic import fit_l1_logistic
from tests.tolerances import L1_OBJECTIVE, L1_SLOPE


def problem(n: int, d: int, n_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    scores = features[:, :2] @ rng.normal(size=(2, n_classes)) + rng.normal(size=(n, n_classes))
    labels = scores.argmax(1)
    labels[:n_classes] = np.arange(n_classes)
    return torch.from_numpy(features), torch.from_numpy(labels)


def slopes(features: Tensor, labels: Tensor, weights: Tensor, C: float) -> Tensor:
    inputs = torch.cat([features, features.new_ones(len(features), 1)], 1)
    return C * inputs.t() @ ((inputs @ weights).softmax(1) - F.one_hot(labels, weights.shape[1]))


def objective(features: Tensor, labels: Tensor, weights: Tensor, C: float) -> float:
    logits = features @ weights[:-1] + weights[-1]
    return float(C * F.cross_entropy(logits, labels, reduction="sum") + weights[:-1].abs().sum())


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    n=st.integers(5, 60),
    d=st.integers(2, 80),
    n_classes=st.integers(2, 5),
    C=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
)
def test_optimality(n: int, d: int, n_classes: int, C: float, seed: int) -> None:
    features, labels = problem(n, d, n_classes, seed)
    weights = fit_l1_logistic(features, labels, n_classes, C)
    slope = slopes(features, labels, weights, C)
    at_zero = weights[:-1] == 0
    assert (slope[:-1][at_zero].abs() <= 1 + L1_SLOPE).all()
    assert ((slope[:-1] + weights[:-1].sign())[~at_zero].abs() <= L1_SLOPE).all()
    assert (slope[-1].abs() <= L1_SLOPE).all()


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("C", [1.0, 0.1])
def test_objective_is_scikit_learns(n_classes: int, C: float) -> None:
    features, labels = problem(80, 20, n_classes, seed=0)
    peer = LogisticRegression(l1_ratio=1, solver="saga", C=C, tol=1e-8, max_iter=100_000, random_state=0)
    peer.fit(features.numpy(), labels.numpy())
    coef = torch.from_numpy(np.vstack([peer.coef_.T, peer.intercept_]))
    if n_classes == 2:  # one score for the two: half for each
        coef = torch.cat([-coef / 2, coef / 2], 1)
    expected = objective(features, labels, coef, C)
    found = objective(features, labels, fit_l1_logistic(features, labels, n_classes, C), C)
    assert expected <= found * (1 + 1e-9) and found <= expected * (1 + L1_OBJECTIVE)


def test_weaker_penalty_keeps_more_features_and_a_start_changes_little() -> None:
    features, labels = problem(80, 20, 3, seed=1)
    strong = fit_l1_logistic(features, labels, 3, 0.05)
    weak = fit_l1_logistic(features, labels, 3, 1.0)
    assert (strong[:-1] != 0).sum() < (weak[:-1] != 0).sum()
    again = fit_l1_logistic(features, labels, 3, 0.05, start=weak)
    assert objective(features, labels, again, 0.05) == pytest.approx(
        objective(features, labels, strong, 0.05), rel=2 * L1_OBJECTIVE
    )

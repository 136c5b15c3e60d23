"""Volumes: attribution and the loss take them; the estimator says that it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lvlm_va import LVLMVAClassifier
from lvlm_va.alignment import RightReasonsLoss, right_reasons_penalty
from lvlm_va.attribution import DeepLiftShap


def test_attribution_and_loss_take_volumes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(108, 2)
    ).double()
    volumes, references = torch.rand(4, 1, 8, 8, 8).double(), torch.rand(3, 1, 8, 8, 8).double()
    labels, masks = torch.tensor([0, 1, 0, 1]), torch.zeros(4, 8, 8, 8)
    found = DeepLiftShap().attribute(net, volumes, labels, references)
    assert found.attributions.shape == volumes.shape
    assert found.relative_completeness_error() < 1e-10
    masks[:, :4] = 1
    given = volumes.clone().requires_grad_()
    penalty = right_reasons_penalty(net(given), given, masks)
    (gradient,) = torch.autograd.grad(net(given).log_softmax(1).sum(), given)
    torch.testing.assert_close(penalty, (gradient[:, 0, :4] ** 2).sum((1, 2, 3)))
    loss = RightReasonsLoss(0.5)(net, volumes, labels, masks)
    expected = nn.functional.cross_entropy(net(volumes), labels) + 0.5 * penalty.mean()
    torch.testing.assert_close(loss, expected)


def test_the_estimator_names_what_takes_volumes() -> None:
    with pytest.raises(ValueError, match=r"\(10, 1, 8, 8, 8\) instead.* docs/how_to/own_loop.md"):
        LVLMVAClassifier(epochs=1).fit(np.random.default_rng(0).random((10, 1, 8, 8, 8)), np.arange(10) % 2)

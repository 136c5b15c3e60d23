"""The right-for-the-right-reasons step as it is usually written, and the plain step that is its floor."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def frozen_norms(module: nn.Module) -> nn.Module:
    """Put the module into training mode, its batch normalisation into evaluation mode, as alignment does."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
    return module


def plain_loss(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy."""
    return F.cross_entropy(module(images), labels)


def whole_batch_loss(
    module: nn.Module, images: Tensor, labels: Tensor, masks: Tensor, n_aligned: int, strength: float
) -> Tensor:
    """Return the loss of Ross et al. (2017) with the double backward through every row.

    ``CE + strength * sum (A d/dx sum_k log y_k)^2 / n_aligned``; the masks of rows that are not aligned are 0.
    """
    images = images.detach().requires_grad_()
    log_probabilities = module(images).log_softmax(1)
    (gradient,) = torch.autograd.grad(log_probabilities.sum(), images, create_graph=True)
    penalty = (masks[:, None] * gradient).square().sum() / n_aligned
    return F.nll_loss(log_probabilities, labels) + strength * penalty


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step down the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

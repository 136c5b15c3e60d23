"""The weight lambda of the penalty: fixed, or steered by what the marked pixels still do."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from lvlm_va.ops import masked_gradient_penalty

# A marked pixel may move the prediction a hundredth as much as another one (root mean square).
TOLERANCE = 1e-4
# Lambda can grow or shrink by exp(30), 13 orders of magnitude, in one run: enough from any start.
FOLDS = 30.0
# Averages run over about ten batches: enough to calm them, short enough for runs of some hundred batches.
MEMORY = 0.9
# Keeps logarithms finite where a net is flat; far below any gradient that matters.
TINY = 1e-30


class Strength(Protocol):
    """Gives the weight of the penalty, batch by batch."""

    @property
    def value(self) -> Tensor:
        """Scalar tensor: lambda now."""
        ...

    def update(self, gradient: Tensor, masks: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
        """Return lambda for a batch.

        Parameters
        ----------
        gradient : Tensor of shape (n, C, *spatial)
            Input gradients of the marked images, without a graph.
        masks : Tensor of shape (n, *spatial)
            Their masks.
        penalty, cross_entropy : scalar Tensor
            The batch's two terms, without a graph.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that changes during a run."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        ...


class FixedStrength:
    """The same lambda for every batch.

    Parameters
    ----------
    value : float
        Lambda.
    like : Tensor
        Has the device and the dtype of the loss.
    """

    def __init__(self, value: float, like: Tensor) -> None:
        self._value = like.new_tensor(value)

    @property
    def value(self) -> Tensor:
        """Scalar tensor: lambda."""
        return self._value

    def update(self, gradient: Tensor, masks: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
        """Return lambda."""
        return self._value

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing: nothing changes."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take nothing."""


class SteeredStrength:
    """Lambda as the multiplier of a constraint: marked pixels must hardly matter.

    The constraint compares the mean squared input gradient of marked pixels with that of the others,

        r = (sum (A g)^2 / sum A^2) / (sum ((1 - A) g)^2 / sum (1 - A)^2)  <=  TOLERANCE = 1e-4,

    so that a marked pixel may move the prediction a hundredth as much as another. ``r`` has no unit: no pixel range,
    image or mask size and no scale of the net enters. Lambda follows by dual ascent in its
    logarithm on averaged constraints, as in Rezende and Viola (2018, arXiv 1810.00597): after each of the run's T
    batches

        log lambda  <-  log lambda + FOLDS / T * clip(log(r / TOLERANCE), -1, 1).

    It starts where both terms of the first batch are equal (Ross et al., 2017). A trained shortcut makes
    the penalty huge, so that is a tiny lambda; it rises until the marked pixels are quiet, and sinks again
    while they are. A fixed value lacks the slow rise: large enough for the end, it shatters the net in the
    first batches.

    Parameters
    ----------
    total_steps : int
        Batches in the whole run, T.
    like : Tensor
        Has the device and the dtype of the loss.
    """

    def __init__(self, total_steps: int, like: Tensor) -> None:
        self._rate = FOLDS / total_steps
        self._log_strength = like.new_tensor(math.nan)
        self._marked = like.new_tensor(0.0)
        self._others = like.new_tensor(0.0)

    @property
    def value(self) -> Tensor:
        """Scalar tensor: lambda now; 0 before the first marked image."""
        return self._log_strength.exp().nan_to_num(0.0)

    def update(self, gradient: Tensor, masks: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
        """Return lambda for a batch."""
        # Both averages start at 0 and age alike, so their ratio needs no correction for the start.
        self._marked = torch.lerp(_mean_square(gradient, masks), self._marked, MEMORY)
        self._others = torch.lerp(_mean_square(gradient, 1 - masks), self._others, MEMORY)
        excess = _log(self._marked) - _log(self._others) - math.log(TOLERANCE)
        balanced = _log(cross_entropy) - _log(penalty)
        before = torch.where(self._log_strength.isnan(), balanced, self._log_strength)
        self._log_strength = before + self._rate * excess.clamp(-1, 1)
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """Return lambda's logarithm and the two averages."""
        return {"log_strength": self._log_strength, "marked": self._marked, "others": self._others}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self._log_strength = state["log_strength"].to(self._log_strength)
        self._marked = state["marked"].to(self._marked)
        self._others = state["others"].to(self._others)


def _mean_square(gradient: Tensor, weights: Tensor) -> Tensor:
    total = masked_gradient_penalty(gradient, weights).sum()
    return total / (weights.square().sum() * gradient.shape[1]).clamp_min(TINY)


def _log(value: Tensor) -> Tensor:
    return (value + TINY).log()

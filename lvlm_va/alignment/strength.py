"""The weight lambda of the penalty: fixed, or steered by what the marked pixels still do."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from lvlm_va._distributed import add_up
from lvlm_va.ops import masked_gradient_penalty

# A marked pixel may move the prediction a hundredth as much as another one (root mean square).
TOLERANCE = 1e-4
# Lambda can grow or shrink by exp(20), almost nine orders of magnitude, in one run.
FOLDS = 20.0
# But by no more than a tenth in one batch: in a short run the net must keep up, even if alignment stays partial.
LARGEST_RATE = 0.1
# Lambda waits while the logarithm of the constraint's ratio lies this far below its running mean.
FALL = 0.5
# The higher the cross-entropy lies above its past, the less lambda rises; it waits at this much (nats), sinks beyond.
DAMAGE = 0.05
# Ages of the averages, in batches: 10 to calm gradients and losses, 33 to see whether the gradients' ratio falls, 100
# for what the cross-entropy was before.
MEMORY = 0.9
TREND_MEMORY = 0.97
PAST_MEMORY = 0.99
# An untrained net has hardly any input gradient; equal terms would start lambda at a million.
LARGEST_START = 1e-3
# Keeps logarithms finite where a net is flat; far below any gradient that matters.
TINY = 1e-30


class Strength(Protocol):
    """Gives the weight of the penalty, batch by batch."""

    @property
    def value(self) -> Tensor:
        """Scalar tensor: lambda now."""
        ...

    def update(self, gradient: Tensor, masks: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
        """Return lambda for a batch; where several processes share it, all must call this with their shares.

        Parameters
        ----------
        gradient : Tensor of shape (n, C, *spatial)
            Input gradients of the marked images, without a graph; n may be 0 in a share.
        masks : Tensor of shape (n, *spatial)
            Their masks.
        penalty, cross_entropy : scalar Tensor
            The batch's two terms, or what the share adds to them, without a graph.
        """
        ...

    def follow(self, measured: Tensor) -> Tensor:
        """Return lambda for a batch by the sum of what `measure` returns of its parts."""
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

    def follow(self, measured: Tensor) -> Tensor:
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
    image or mask size and no scale of the net enters. After each of the run's T batches

        log lambda  <-  log lambda + min(FOLDS / T, 0.1) * clip(log(r / TOLERANCE), -1, 1),

    which is dual ascent on averaged constraints (Rezende and Viola 2018, arXiv 1810.00597); but while ``r`` is
    falling by itself, a rise is held back in proportion (the derivative term of Stooke et al. 2020, arXiv
    2007.03964), since the net answers late and lambda would overshoot and flatten it. Nor does lambda rise faster
    than the net can bear: a rise is multiplied by ``clip(1 - (recent - past cross-entropy) / DAMAGE, -1, 1)``, so it
    ends, or turns, while the cross-entropy grows. Masks of segments also hold pixels that count, and a convolution
    sees over a mask's edge, so the constraint can be out of reach; without this brake lambda would grow until the
    net is broken.

    Lambda starts where both terms of the first batch are equal (Ross et al. 2017). A trained shortcut makes the
    penalty huge, so that is tiny; it rises until the marked pixels are quiet, and sinks again while they
    are. A fixed value lacks the slow rise: large enough for the end, it shatters the net in the first batches.

    ``lvlm-va experiment lambda`` compares it with fixed values. The constants were chosen on Decoy-MNIST, decoyed
    digits and drawn lesions, one or two seeds each, by test accuracy. Give it some hundred batches: in fewer it
    stays safe but aligns in part.

    Parameters
    ----------
    total_steps : int
        Batches in the whole run, T.
    like : Tensor
        Has the device and the dtype of the loss.
    """

    def __init__(self, total_steps: int, like: Tensor) -> None:
        self._rate = min(FOLDS / total_steps, LARGEST_RATE)
        self._log_strength = like.new_tensor(math.nan)
        self._marked = like.new_tensor(0.0)
        self._others = like.new_tensor(0.0)
        self._trend = like.new_tensor(math.nan)
        self._recent = like.new_tensor(math.nan)
        self._past = like.new_tensor(math.nan)

    @property
    def value(self) -> Tensor:
        """Scalar tensor: lambda now; 0 before the first marked image."""
        return self._log_strength.exp().nan_to_num(0.0)

    def update(self, gradient: Tensor, masks: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
        """Return lambda for a batch, of which each process passes its share."""
        return self.follow(measure(gradient, masks, penalty, cross_entropy))

    def follow(self, measured: Tensor) -> Tensor:
        """Return lambda for a batch by the sum of what `measure` returns of its parts, over all processes."""
        marked, n_marked, others, n_others, penalty, cross_entropy = add_up(measured.clone()).unbind()
        # Both averages start at 0 and age alike, so their ratio needs no correction for the start.
        self._marked = torch.lerp(marked / n_marked.clamp_min(TINY), self._marked, MEMORY)
        self._others = torch.lerp(others / n_others.clamp_min(TINY), self._others, MEMORY)
        ratio = _log(self._marked) - _log(self._others)
        self._trend = _average(ratio, self._trend, TREND_MEMORY)
        self._recent = _average(cross_entropy, self._recent, MEMORY)
        self._past = _average(cross_entropy, self._past, PAST_MEMORY)
        held = (1 - (self._trend - ratio) / FALL).clamp(0, 1)
        borne = (1 - (self._recent - self._past) / DAMAGE).clamp(-1, 1)
        excess = (ratio - math.log(TOLERANCE)).clamp(-1, 1)
        balanced = (_log(cross_entropy) - _log(penalty)).clamp(max=math.log(LARGEST_START))
        before = torch.where(self._log_strength.isnan(), balanced, self._log_strength)
        self._log_strength = before + self._rate * torch.where(excess > 0, excess * held * borne, excess)
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """Return lambda's logarithm and the averages."""
        return {
            "log_strength": self._log_strength,
            "marked": self._marked,
            "others": self._others,
            "trend": self._trend,
            "recent": self._recent,
            "past": self._past,
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""
        self._log_strength = state["log_strength"].to(self._log_strength)
        self._marked = state["marked"].to(self._marked)
        self._others = state["others"].to(self._others)
        self._trend = state["trend"].to(self._trend)
        self._recent = state["recent"].to(self._recent)
        self._past = state["past"].to(self._past)


def measure(gradient: Tensor, masks: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
    """Return what steering asks of a part of a batch; parameters as of `Strength.update`.

    Returns
    -------
    Tensor of shape (6,)
        Sums over the part: of ``(A g)^2``, ``A^2``, ``((1 - A) g)^2`` and ``(1 - A)^2``, each over pixels and channels,
        and both terms of the loss.
    """
    sums = [part for weights in (masks, 1 - masks) for part in _squares(gradient, weights)]
    return torch.stack([*sums, penalty, cross_entropy])


def _squares(gradient: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    total = masked_gradient_penalty(gradient, weights).sum() if len(gradient) else gradient.sum()
    return total, weights.square().sum() * gradient.shape[1]


def _average(value: Tensor, before: Tensor, memory: float) -> Tensor:
    """Return a running average that starts with its first value."""
    return torch.lerp(value, torch.where(before.isnan(), value, before), memory)


def _log(value: Tensor) -> Tensor:
    return (value + TINY).log()

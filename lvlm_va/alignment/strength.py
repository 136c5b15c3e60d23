"""The weight lambda of the penalty: fixed, or rising until the marked pixels can no longer count."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from lvlm_va.common.distributed import add_up
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_real

# A step of length 1 in the marked pixels that moves the log-probabilities by a nat costs a nat.
TARGET = 1.0
# Share of the run in which lambda rises.
RISE = 0.2
# But by no more than a tenth in one batch, even if alignment stays partial.
LARGEST_RATE = 0.1
# An untrained net has hardly any input gradient; equal terms would start lambda at a million.
LARGEST_START = 1e-3
# Keeps logarithms finite where a net is flat; far below any gradient that matters.
TINY = 1e-30


class Strength(Protocol):
    """Gives the weight of the penalty, batch by batch."""

    @property
    def value(self) -> float:
        """Lambda now."""
        ...

    @property
    def known(self) -> bool:
        """Whether lambda no longer depends on what a batch shows."""
        ...

    def update(self, penalty: Tensor, cross_entropy: Tensor) -> float:
        """Return lambda for a batch with marked rows; where processes share it, all must call this.

        Parameters
        ----------
        penalty, cross_entropy : scalar Tensor
            The batch's two terms, or what a process's share adds to them, without a graph.
        """
        ...

    def step(self, marked: bool) -> None:
        """Go on to the next batch, after one with or without marked rows."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes during a run, numbers and None."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        ...


class FixedStrength:
    """The same lambda for every batch.

    Parameters
    ----------
    value : float
        Lambda.
    """

    known = True

    def __init__(self, value: float) -> None:
        self.value = value

    def update(self, penalty: Tensor, cross_entropy: Tensor) -> float:
        """Return lambda."""
        return self.value

    def step(self, marked: bool) -> None:
        """Change nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: nothing changes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


class RisingStrength:
    """Lambda from where both terms are equal to where marked pixels can no longer count.

    It starts where the two terms of the first batch with marked rows are equal (Ross et al. 2017), at 0.001 at most,
    and rises by the same factor with each batch that has marked rows, to 1 after a fifth of those; there it stays.
    Where they are so few that the factor would exceed ``exp(0.1)`` it rises by that, and the net may be aligned in
    part: the net must keep up, and rare shocks throw optimizers that remember the usual size of gradients.

    *The start.* A trained shortcut makes the penalty huge, so lambda starts tiny. A fixed value lacks the rise:
    large enough for the end, it shatters the net in the first batches.

    *The end.* With images in [0, 1], ``lambda * sum (A g)^2 = lambda`` nats where a step of length 1 in the marked
    pixels, less than the way from black to white in one of them, moves the summed log-probabilities by one nat. So
    lambda = 1 leaves them no say that is worth its price, in images and nets of any size. More buys nothing: masks of
    segments also hold pixels that count, and a convolution sees over a mask's edge, so the penalty cannot vanish, and
    lambda = 10 breaks nets.

    ``lvlm-va experiment lambda`` compares it with fixed values. The share of the rise and the end were chosen on
    Decoy-MNIST, decoyed digits and drawn radiographs and lesions, one or two seeds each, by test accuracy.

    Parameters
    ----------
    total_steps : int
        Batches with marked rows in the whole run, about.
    shared : bool, default=True
        Whether all processes, if there are several, share each batch; else each has batches of its own.
    """

    def __init__(self, total_steps: int, *, shared: bool = True) -> None:
        self._n_rising, self._shared = RISE * max(1, total_steps), shared
        self._log_start: float | None = None
        self._n_steps = 0

    @property
    def value(self) -> float:
        """Lambda now; 0 before the first marked row."""
        if self._log_start is None:
            return 0.0
        way = math.log(TARGET) - self._log_start
        return math.exp(self._log_start + min(way, self._n_steps * min(way / self._n_rising, LARGEST_RATE)))

    @property
    def known(self) -> bool:
        """Whether there was a batch with marked rows."""
        return self._log_start is not None

    def update(self, penalty: Tensor, cross_entropy: Tensor) -> float:
        """Return lambda for a batch, of which each process passes its share."""
        if self._log_start is None:
            both = torch.stack([penalty, cross_entropy])
            values = (add_up(both) if self._shared else both).tolist()
            log_penalty, log_cross_entropy = (math.log(value + TINY) for value in values)
            self._log_start = min(log_cross_entropy - log_penalty, math.log(LARGEST_START))
        return self.value

    def step(self, marked: bool) -> None:
        """Rise, after a batch with marked rows."""
        self._n_steps += marked

    def state_dict(self) -> dict[str, Any]:
        """Return where lambda started, and how far it is."""
        return {"log_start": self._log_start, "n_steps": self._n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self._log_start, self._n_steps = state["log_start"], state["n_steps"]


def check_strength(name: str, value: float | str) -> None:
    """Raise TypeError or ValueError unless an argument is "auto" or a number >= 0."""
    if isinstance(value, str):
        if value != "auto":
            raise unknown_name(name, value, ["auto"])
    else:
        check_real(name, value, "[0, inf)", expected='"auto" or a number >= 0')

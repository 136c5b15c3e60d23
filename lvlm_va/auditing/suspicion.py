"""How suspicious a family is, and when that is an alarm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lvlm_va.auditing.swaps import Swaps

# What rates and shares are taken to be larger than they were seen: those of a few dozen pairs are not known better.
_TURNED, _CONTROL, _OVERLAP = 0.02, 0.04, 0.01
# An alarm needs so much suspicion, so many changed predictions, and a p-value so small after correction.
THRESHOLD, LEAST_RATE, LEVEL = 200.0, 0.05, 0.05


def suspicion(swaps: Swaps) -> float:
    """Return how much more a family does than it should, had it to do with what counts.

    It is the rate at which regions of the family, put into images of other classes, turn their predictions, over the
    rate at which as much of an image of their own class does, over the share of the images' effect that was covered.
    Parts of the object lie where other classes' evidence lies, too; to turn a prediction they must replace it, and
    another such part of the own class also changes something. A shortcut turns predictions from where nothing
    counts otherwise.

    Parameters
    ----------
    swaps : Swaps
        What was tried.

    Returns
    -------
    float
        Above 0, at most 2,550. The rate is taken to be 0.02 larger than it was seen, that of the control 0.04, and the
        share 0.01: of some hundred pairs they are not known better.
    """
    ratio = (swaps.transplants.rate + _TURNED) / (swaps.controls.rate + _CONTROL)
    return ratio / (swaps.overlap + _OVERLAP)


def alarming(found: Sequence[Swaps]) -> list[bool]:
    """Return for each family whether it is an alarm.

    Its suspicion is at least 200, at least 5 % of the predictions turn, and more than by the control: by an exact test,
    corrected for the number of families (Holm 1979), at 0.05.

    Parameters
    ----------
    found : sequence of Swaps
        One for each family.

    Returns
    -------
    list of bool
        In the same order.
    """
    corrected = holm(np.array([swaps.p_value for swaps in found]))
    return [
        bool(p < LEVEL) and suspicion(swaps) >= THRESHOLD and swaps.transplants.rate >= LEAST_RATE
        for swaps, p in zip(found, corrected, strict=True)
    ]


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values (m,) corrected for their number (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return corrected

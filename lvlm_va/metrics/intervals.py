"""Confidence intervals of proportions."""

from __future__ import annotations

import math
from statistics import NormalDist

from lvlm_va.common.validation import check_integer, check_real


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    ``(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`` with ``p = successes / n`` and z the normal
    quantile (Wilson 1927). Unlike the textbook interval it stays in [0, 1] and holds for small groups.

    Parameters
    ----------
    successes : int
        Number of successes, from 0 to `n`.
    n : int
        Number of trials, at least 1.
    confidence : float, default=0.95
        Confidence level, in (0, 1).

    Returns
    -------
    tuple of (float, float)
        Ends of the interval, in [0, 1].

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    check_integer("n", n, 1)
    check_real("successes", successes, f"[0, {n}]")
    check_real("confidence", confidence, "(0, 1)")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, z2 = successes / n, z * z / n
    centre = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(p * (1 - p) * z2 + z2 * z2 / 4) / (1 + z2)
    # Exact at the ends, where the formula gives 0 and 1 up to rounding.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)

"""How sure a judge must be for its verdicts to be right often enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lvlm_va.common.validation import check_real


@dataclass(frozen=True)
class CalibrationReport:
    """A threshold of confidence, and what it costs.

    Attributes
    ----------
    threshold : float
        Least confidence of a verdict; infinite where no promise can be made, so that every segment is unsure.
    target : float
        Share of right verdicts that was asked for.
    n_labelled : int
        Labelled segments.
    n_decided : int
        Those that are decided at the threshold.
    n_right : int
        Those that are decided rightly.
    """

    threshold: float
    target: float
    n_labelled: int
    n_decided: int
    n_right: int

    @property
    def coverage(self) -> float:
        """Share of the labelled segments that are decided."""
        return self.n_decided / self.n_labelled if self.n_labelled else 0.0

    @property
    def accuracy(self) -> float:
        """Share of right ones among the decided; NaN where none is."""
        return self.n_right / self.n_decided if self.n_decided else math.nan


def choose_threshold(
    confidences: Sequence[float], right: Sequence[bool], *, target: float, risk: float
) -> CalibrationReport:
    """Return the lowest threshold for which the share of right verdicts can be promised.

    Fixed-sequence testing (Jung et al. 2024, arXiv 2407.18370): the thresholds, from the highest confidence down, are
    tested one after the other for "no more than `target` of the decided are right", by the exact binomial test, until
    one cannot be rejected at the level `risk`. Those with too few decided ones to be rejected at all are passed over,
    which depends on their number only. So with probability ``1 - risk`` the share of right verdicts above the threshold
    is larger than `target`, on segments like those labelled.

    Parameters
    ----------
    confidences : sequence of float
        Confidence of each verdict; minus infinity for a segment that is undecided at any threshold.
    right : sequence of bool
        Whether each verdict is right.
    target, risk : float
        In (0, 1).

    Returns
    -------
    CalibrationReport
        With an infinite threshold where none can be promised.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> report = choose_threshold([0.9] * 30 + [0.6] * 10, [True] * 30 + [False] * 10, target=0.9, risk=0.1)
    >>> report.threshold, report.coverage, report.accuracy
    (0.9, 0.75, 1.0)
    """
    for name, value in (("target", target), ("risk", risk)):
        check_real(name, value, "(0, 1)")
    pairs = sorted(zip(confidences, right, strict=True), key=lambda pair: -pair[0])
    fewest = math.ceil(math.log(risk) / math.log(target))
    best, decided_at_best, right_at_best = math.inf, 0, 0
    for threshold in sorted({c for c in confidences if c > -math.inf}, reverse=True):
        decided = [ok for confidence, ok in pairs if confidence >= threshold]
        if len(decided) < fewest:
            continue
        if _tail(sum(decided), len(decided), target) > risk:
            break
        best, decided_at_best, right_at_best = threshold, len(decided), sum(decided)
    return CalibrationReport(best, target, len(pairs), decided_at_best, right_at_best)


def _tail(successes: int, n: int, p: float) -> float:
    """Return the probability of at least so many successes in n trials of probability p."""
    from scipy.special import betainc

    return 1.0 if successes == 0 else float(betainc(successes, n - successes + 1, p))

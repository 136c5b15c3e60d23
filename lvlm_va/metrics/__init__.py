"""Measures: how well attributions avoid what is spurious, group accuracies, accuracy of verdicts."""

from lvlm_va.metrics.alignment import alignment_score
from lvlm_va.metrics.groups import (
    GroupAccuracies,
    average_group_accuracy,
    group_accuracies,
    worst_group_accuracy,
)
from lvlm_va.metrics.intervals import wilson_interval
from lvlm_va.metrics.paired import PairedAccuracy
from lvlm_va.metrics.right_reasons import right_reasons_accuracy, spurious_share
from lvlm_va.metrics.verdicts import VerdictAccuracy, verdict_accuracy

__all__ = [
    "GroupAccuracies",
    "PairedAccuracy",
    "VerdictAccuracy",
    "alignment_score",
    "average_group_accuracy",
    "group_accuracies",
    "right_reasons_accuracy",
    "spurious_share",
    "verdict_accuracy",
    "wilson_interval",
    "worst_group_accuracy",
]

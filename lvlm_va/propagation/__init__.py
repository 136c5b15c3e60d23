"""From verdicts on a few critiqued images to masks on many."""

from lvlm_va.propagation.consensus import Consensus, find_consensus
from lvlm_va.propagation.feature_map import feature_maps, find_feature_layer
from lvlm_va.propagation.features import segment_features
from lvlm_va.propagation.learner import SegmentVerdicts, VerdictLearner
from lvlm_va.propagation.types import Propagated, Propagation, resolve_propagation

__all__ = [
    "Consensus",
    "Propagated",
    "Propagation",
    "SegmentVerdicts",
    "VerdictLearner",
    "feature_maps",
    "find_consensus",
    "find_feature_layer",
    "resolve_propagation",
    "segment_features",
]

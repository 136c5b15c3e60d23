"""From verdicts on a few critiqued images to masks on all."""

from lvlm_va.propagation.feature_map import feature_maps, find_feature_layer
from lvlm_va.propagation.features import segment_features
from lvlm_va.propagation.learner import SegmentVerdicts, VerdictLearner

__all__ = [
    "SegmentVerdicts",
    "VerdictLearner",
    "feature_maps",
    "find_feature_layer",
    "segment_features",
]

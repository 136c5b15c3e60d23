"""The methods that `lvlm_va.LVLMVAClassifier` is compared with, behind the same ``fit`` and ``predict``."""

from lvlm_va.comparison.counterexamples import CounterexampleClassifier
from lvlm_va.comparison.dfr import DFRClassifier
from lvlm_va.comparison.erm import ERMClassifier
from lvlm_va.comparison.errors import NotApplicableError
from lvlm_va.comparison.ground_truth_rrr import GroundTruthRRRClassifier
from lvlm_va.comparison.group_dro import GroupDROClassifier
from lvlm_va.comparison.jtt import JTTClassifier
from lvlm_va.comparison.rival import GroupRival, MaskRival, PlainRival, RivalClassifier
from lvlm_va.comparison.subg import SUBGClassifier

__all__ = [
    "RIVALS",
    "CounterexampleClassifier",
    "DFRClassifier",
    "ERMClassifier",
    "GroundTruthRRRClassifier",
    "GroupDROClassifier",
    "JTTClassifier",
    "NotApplicableError",
    "RivalClassifier",
    "SUBGClassifier",
]

# Each says by `needs_groups` and `needs_masks` what its `fit` must be given besides images and labels.
RIVALS: dict[str, type[PlainRival | GroupRival | MaskRival]] = {
    "erm": ERMClassifier,
    "ground_truth_rrr": GroundTruthRRRClassifier,
    "counterexamples": CounterexampleClassifier,
    "jtt": JTTClassifier,
    "dfr": DFRClassifier,
    "subg": SUBGClassifier,
    "group_dro": GroupDROClassifier,
}

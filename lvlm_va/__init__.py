"""Find out when an image classifier looks at the wrong thing, and mend it with words (arXiv 2512.21985)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lvlm_va._version import __version__

if TYPE_CHECKING:
    from lvlm_va.critic_exam import exam
    from lvlm_va.critique import LLMJudge, LVLMCritic, OracleCritic, RegionCritic, TableCritic, VerdictTable
    from lvlm_va.estimator import LVLMVAClassifier
    from lvlm_va.model_audit import audit
    from lvlm_va.model_selection import RightReasonsScorer
    from lvlm_va.modules.preprocessing import preprocessing_from

__all__ = [
    "LLMJudge",
    "LVLMCritic",
    "LVLMVAClassifier",
    "OracleCritic",
    "RegionCritic",
    "RightReasonsScorer",
    "TableCritic",
    "VerdictTable",
    "__version__",
    "audit",
    "exam",
    "preprocessing_from",
]

_HOMES = {
    "LLMJudge": "lvlm_va.critique",
    "LVLMCritic": "lvlm_va.critique",
    "LVLMVAClassifier": "lvlm_va.estimator",
    "OracleCritic": "lvlm_va.critique",
    "RegionCritic": "lvlm_va.critique",
    "RightReasonsScorer": "lvlm_va.model_selection",
    "TableCritic": "lvlm_va.critique",
    "VerdictTable": "lvlm_va.critique",
    "audit": "lvlm_va.model_audit",
    "exam": "lvlm_va.critic_exam",
    "preprocessing_from": "lvlm_va.modules.preprocessing",
}


def __getattr__(name: str) -> Any:
    # Torch and scikit-learn take seconds to import; `lvlm-va --help` and submodules need not wait for them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

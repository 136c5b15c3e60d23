"""Judge segments: what a critic is asked and answers, critics without an LVLM, the table of verdicts."""

from lvlm_va.critique.checks import check_critiques
from lvlm_va.critique.collect import collect_critiques
from lvlm_va.critique.oracle import OracleCritic
from lvlm_va.critique.region_critic import RegionCritic
from lvlm_va.critique.requests import build_requests
from lvlm_va.critique.resolve import resolve_critic
from lvlm_va.critique.table_critic import TableCritic
from lvlm_va.critique.tiny_critic import TinyCritic, tiny_critic_folder
from lvlm_va.critique.types import (
    VERDICTS,
    Critic,
    Critique,
    CritiqueRequest,
    JudgeExample,
    SegmentVerdict,
    Verdict,
)
from lvlm_va.critique.verdict_table import VerdictTable

__all__ = [
    "VERDICTS",
    "Critic",
    "Critique",
    "CritiqueRequest",
    "JudgeExample",
    "OracleCritic",
    "RegionCritic",
    "SegmentVerdict",
    "TableCritic",
    "TinyCritic",
    "Verdict",
    "VerdictTable",
    "build_requests",
    "check_critiques",
    "collect_critiques",
    "resolve_critic",
    "tiny_critic_folder",
]

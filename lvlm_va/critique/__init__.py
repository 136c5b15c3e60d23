"""Judge segments: critics with and without an LVLM, judges of what they say, the table of verdicts."""

from lvlm_va.critique.behaviour import (
    BehaviourSummary,
    ClassBehaviour,
    Cover,
    SegmentFinding,
    summarize_behaviour,
)
from lvlm_va.critique.behaviour_writer import BehaviourWriter, resolve_writer
from lvlm_va.critique.calibration import CalibrationReport
from lvlm_va.critique.checks import check_critiques, check_verdicts
from lvlm_va.critique.collect import collect_critiques, judge_critiques, read_critiques
from lvlm_va.critique.families import FamilyVerdicts
from lvlm_va.critique.geometry import SegmentFacts, position_in_words, segment_facts
from lvlm_va.critique.llm_judge import LLMJudge
from lvlm_va.critique.lvlm_critic import LVLMCritic
from lvlm_va.critique.model_user import ModelStoppedError
from lvlm_va.critique.oracle import OracleCritic
from lvlm_va.critique.parser_judge import ParserJudge
from lvlm_va.critique.parsing import ParsedContents, ParsedVerdicts, parse_contents, parse_verdicts
from lvlm_va.critique.policy import VerdictPolicy
from lvlm_va.critique.prompts import BehaviourPrompt, CriticPrompt, JudgePrompt
from lvlm_va.critique.recorded_critic import RecordedCritic
from lvlm_va.critique.region_critic import RegionCritic
from lvlm_va.critique.rendering import RegionRenderer
from lvlm_va.critique.requests import build_requests
from lvlm_va.critique.resolve import resolve_critic, resolve_judge
from lvlm_va.critique.specifications import Specification
from lvlm_va.critique.table_critic import TableCritic
from lvlm_va.critique.tile_sheet import TileSheet
from lvlm_va.critique.tiny.critic import TinyCritic, tiny_critic_folder
from lvlm_va.critique.types import (
    CONTENTS,
    VERDICTS,
    Content,
    Critic,
    Critique,
    CritiqueRequest,
    FamilyRequest,
    Judge,
    JudgeExample,
    SegmentVerdict,
    Statement,
    Verdict,
)
from lvlm_va.critique.verdict_table import VerdictTable
from lvlm_va.critique.views import View

__all__ = [
    "CONTENTS",
    "VERDICTS",
    "BehaviourPrompt",
    "BehaviourSummary",
    "BehaviourWriter",
    "CalibrationReport",
    "ClassBehaviour",
    "Content",
    "Cover",
    "Critic",
    "CriticPrompt",
    "Critique",
    "CritiqueRequest",
    "FamilyRequest",
    "FamilyVerdicts",
    "Judge",
    "JudgeExample",
    "JudgePrompt",
    "LLMJudge",
    "LVLMCritic",
    "ModelStoppedError",
    "OracleCritic",
    "ParsedContents",
    "ParsedVerdicts",
    "ParserJudge",
    "RecordedCritic",
    "RegionCritic",
    "RegionRenderer",
    "SegmentFacts",
    "SegmentFinding",
    "SegmentVerdict",
    "Specification",
    "Statement",
    "TableCritic",
    "TileSheet",
    "TinyCritic",
    "Verdict",
    "VerdictPolicy",
    "VerdictTable",
    "View",
    "build_requests",
    "check_critiques",
    "check_verdicts",
    "collect_critiques",
    "judge_critiques",
    "parse_contents",
    "parse_verdicts",
    "position_in_words",
    "read_critiques",
    "resolve_critic",
    "resolve_judge",
    "resolve_writer",
    "segment_facts",
    "summarize_behaviour",
    "tiny_critic_folder",
]

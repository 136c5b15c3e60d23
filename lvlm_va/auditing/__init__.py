"""Audit a classifier: group the regions that it relies on, and find by trial which of them look like a shortcut."""

from lvlm_va.auditing.diffuse import DiffuseFinding, diffuse_tests, telling_statistics
from lvlm_va.auditing.families import FewestGaussians, find_families
from lvlm_va.auditing.regions import RegionTable, find_regions
from lvlm_va.auditing.run import audit_net
from lvlm_va.auditing.suspicion import alarming, suspicion
from lvlm_va.auditing.swaps import Count, Pairs, Swaps, draw_pairs, swap
from lvlm_va.auditing.types import Audit, Family

__all__ = [
    "Audit",
    "Count",
    "DiffuseFinding",
    "Family",
    "FewestGaussians",
    "Pairs",
    "RegionTable",
    "Swaps",
    "alarming",
    "audit_net",
    "diffuse_tests",
    "draw_pairs",
    "find_families",
    "find_regions",
    "suspicion",
    "swap",
    "telling_statistics",
]

"""A page on which an expert corrects the verdicts of a run and has the classifier aligned again (extra ``report``)."""

from lvlm_va.review.journal import Journal, StaleRevisionError

__all__ = ["Journal", "StaleRevisionError"]

"""What a person reads after a run: a page, pictures and drawings for notebooks (extra ``report``)."""

from lvlm_va.report.audit_page import write_audit
from lvlm_va.report.cost import ModelUse
from lvlm_va.report.figures import before_after_picture, write_figures
from lvlm_va.report.live_record import record_of
from lvlm_va.report.measures import Measured, Measures
from lvlm_va.report.measuring import measure
from lvlm_va.report.page import render_report, write_report
from lvlm_va.report.plots import (
    Example,
    plot_before_after,
    plot_explanation,
    plot_lambda_sweep,
    plot_segments,
)
from lvlm_va.report.run_record import Command, RunRecord, keep_command, keep_measures, read_run

__all__ = [
    "Command",
    "Example",
    "Measured",
    "Measures",
    "ModelUse",
    "RunRecord",
    "before_after_picture",
    "keep_command",
    "keep_measures",
    "measure",
    "plot_before_after",
    "plot_explanation",
    "plot_lambda_sweep",
    "plot_segments",
    "read_run",
    "record_of",
    "render_report",
    "write_audit",
    "write_figures",
    "write_report",
]

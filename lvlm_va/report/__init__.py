"""What a person reads after a run: a picture and a page (extra ``report``)."""

from lvlm_va.report.cost import ModelUse
from lvlm_va.report.measures import Measured, Measures
from lvlm_va.report.page import write_page
from lvlm_va.report.picture import Example, before_after_picture
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
    "read_run",
    "write_page",
]

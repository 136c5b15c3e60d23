"""What a person reads after a run: a picture and a page (extra ``report``)."""

from lvlm_va.report.page import write_page
from lvlm_va.report.picture import Example, before_after_picture

__all__ = ["Example", "before_after_picture", "write_page"]

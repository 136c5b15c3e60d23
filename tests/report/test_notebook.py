"""Results shown as tables in notebooks."""

from __future__ import annotations

import pytest

from lvlm_va.critique import SegmentFinding, SegmentVerdict, VerdictTable, summarize_behaviour
from lvlm_va.metrics import group_accuracies
from tests.report.records import make_measures

EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            VerdictTable(tuple(SegmentVerdict(f"{EVIL}{i}", 1, "spurious", 0.25) for i in range(31))),
            ("31 verdicts: 31 spurious, 0 relevant, 0 unsure; the first 30", "<td>0.25</td>"),
        ),
        (
            summarize_behaviour([SegmentFinding("a", EVIL, 1, 1.0, "top", "relevant")]),
            ("<td>100%</td>", "1 image was critiqued"),
        ),
        (
            group_accuracies([0, 0, 1], [0, 1, 1], groups=[EVIL, EVIL, "b"]),
            ("<td>0.500</td><td>0.095 to 0.905</td><td>2</td>", "95% intervals"),
        ),
        (make_measures(), ("<td>accuracy</td><td>0.600</td><td>0.900</td>", "On test images")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tables(result, words):
    text = result._repr_html_()
    assert all(part in text for part in words)
    assert "<script" not in text
    assert text.startswith("<table><caption>")

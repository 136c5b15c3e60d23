"""Verdicts as a CSV table."""

import pandas

from lvlm_va import VerdictTable
from lvlm_va.critique import SegmentVerdict


def test_data_frames_read_it(tmp_path):
    verdicts = (
        SegmentVerdict(
            "a, b", 1, "spurious", p_spurious=0.25, reason='It says "R",\nat the top.', source="human"
        ),
        SegmentVerdict("a, b", 2, "unsure", source="critic", status="failed", content="mixed"),
        SegmentVerdict("ä", 1, "relevant", reason="=cmd|' /C calc'!A0"),
    )
    VerdictTable(verdicts).to_csv(tmp_path / "verdicts.csv")
    found = pandas.read_csv(tmp_path / "verdicts.csv", keep_default_na=False)
    assert found.to_dict("list") == {
        "image_id": ["a, b", "a, b", "ä"],
        "segment": [1, 2, 1],
        "verdict": ["spurious", "unsure", "relevant"],
        "p_spurious": ["0.25", "", ""],
        "reason": ['It says "R",\nat the top.', "", "'=cmd|' /C calc'!A0"],
        "source": ["human", "critic", ""],
        "status": ["", "failed", ""],
        "content": ["", "mixed", ""],
    }

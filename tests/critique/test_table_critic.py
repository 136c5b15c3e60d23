"""Verdicts from a file."""

import pytest

from lvlm_va.critique import SegmentVerdict, TableCritic, VerdictTable
from tests.critique.making import corner_and_centre, verdicts_of


def test_verdicts_come_from_the_file_as_it_is_now(tmp_path):
    path = tmp_path / "table.json"
    critic = TableCritic(path)
    requests = [corner_and_centre(index=i) for i in range(2)]

    VerdictTable((SegmentVerdict("1", 2, "relevant", reason="the figure", source="human"),)).save(path)
    first = critic.fingerprint()
    critiques = critic.critique(requests)
    assert verdicts_of(critiques) == [["unsure", "unsure"], ["unsure", "relevant"]]
    assert critiques[1].verdicts[1].source == "human"
    assert critiques[0].verdicts[0].source == "table"
    assert critiques[0].verdicts[0].reason == f"the table {path} has no verdict on it"

    VerdictTable.load(path).replace([SegmentVerdict("0", 1, "spurious")]).save(path)
    assert verdicts_of(critic.critique(requests)) == [["spurious", "unsure"], ["unsure", "relevant"]]
    assert critic.fingerprint() != first


def test_a_table_of_other_segments_is_refused(tmp_path):
    VerdictTable((SegmentVerdict("0", 3, "spurious"),)).save(tmp_path / "table.json")
    with pytest.raises(ValueError, match=r"table\.json: judges segment 3 of image '0', which has 2 segments"):
        TableCritic(tmp_path / "table.json").critique([corner_and_centre()])


def test_a_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        TableCritic(tmp_path / "none.json").critique([])

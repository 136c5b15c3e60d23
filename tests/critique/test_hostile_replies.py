"""Mutated replies of a real model: no exception, and no verdict that is not plainly stated."""

from tools.hostile_replies import CANARY, faults, stated


def test_a_hundred_hostile_replies_are_read_without_fault():
    assert list(faults(seed=7, count=100)) == []


def test_the_slow_reading_finds_what_is_said_and_nothing_else():
    text = (
        f"Segment 1 | covers: it | answer: object\nSegment 2: not sure\n- Segment #{CANARY}: **spurious**</s>"
    )
    assert [stated(text, k) for k in (1, 2, CANARY)] == [{"relevant"}, set(), {"spurious"}]
    assert stated('So {"a": {"segments": [{"id": "1", "verdict": "spurious"}]}}', 1) == {"spurious"}

"""Tables as people leave them: they mean what a slow reading says, or are refused by name."""

from collections import Counter

from tools.odd_tables import ends


def test_odd_tables_are_read_as_they_are_meant_or_refused():
    found = list(ends(seed=3, count=200))
    assert [(end, table) for end, table in found if "BAD" in end] == []
    kinds = Counter(end for end, _ in found)
    assert all(kinds[f"{what} {end}"] > 10 for what in ("labels", "verdicts") for end in ("read", "refused"))

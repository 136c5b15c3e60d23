"""A verdict table knows the segments that it was made for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lvlm_va.critique import SegmentVerdict, TableCritic, VerdictTable
from lvlm_va.critique.places import places_from_text, places_to_text, same_places, segment_places
from tests.critique.making import corner_and_centre

SEGMENTS = arrays.arrays(np.int64, (6, 5), elements=st.integers(0, 3))
EFFECTS = arrays.arrays(np.float64, (6, 5), elements=st.floats(0, 1))


@given(SEGMENTS, EFFECTS, st.integers(0, 2**32 - 1))
def test_places_hold_in_text_and_when_rounded_otherwise(segments: Any, effect: Any, seed: int) -> None:
    places = segment_places(segments, effect)
    assert len(places) == segments.max()
    assert places_from_text(places_to_text(places)) == places
    rounded = effect * np.random.default_rng(seed).uniform(1 - 1e-4, 1 + 1e-4, effect.shape)
    assert same_places(places, segment_places(segments, rounded))


def test_places_are_the_middle_of_the_effect_and_its_share() -> None:
    segments, effect = np.zeros((4, 4), int), np.zeros((4, 4))
    segments[0, 0], segments[2:, 2:] = 1, 2
    effect[0, 0], effect[3, 3] = 1, 3
    assert segment_places(segments, effect) == ((0.125, 0.125, 0.25), (0.875, 0.875, 0.75))
    swapped = segment_places(np.array([0, 2, 1])[segments], effect)
    assert not same_places(segment_places(segments, effect), swapped)


@pytest.mark.parametrize(
    "text", ["0.1", "0.100 0.100", "0.100 0.100 0.100,", "a", "0.1000 0.100 0.100", "9.000 0.100 0.1"]
)
def test_other_text_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    VerdictTable((SegmentVerdict("a", 1, "unsure"),), places={"a": ((0.0, 0.0, 0.0),)}).save(path)
    assert VerdictTable.load(path).places == {"a": ((0.0, 0.0, 0.0),)}
    path.write_text(path.read_text().replace("0.000 0.000 0.000", text))
    with pytest.raises(ValueError, match=r"table\.json, image 'a': 'made_for' must say where"):
        VerdictTable.load(path)


def test_a_table_of_other_segments_is_refused_by_the_critic_that_repeats_it(tmp_path: Path) -> None:
    path, request = tmp_path / "table.json", corner_and_centre()
    table = VerdictTable(
        (SegmentVerdict("0", 1, "spurious"),), places={"0": segment_places(request.segments, request.effect)}
    )
    table.save(path)
    (critique,) = TableCritic(path).critique([request])
    assert critique.verdicts[0].verdict == "spurious"
    moved = replace(request, segments=request.segments[::-1], effect=request.effect[::-1])
    with pytest.raises(ValueError, match=r"table\.json: .*made for other segments of 1 of its 1 images, '0'"):
        TableCritic(path).critique([moved])


def test_corrections_are_for_the_same_segments_as_far_as_both_know() -> None:
    verdicts = (SegmentVerdict("a", 1, "spurious"), SegmentVerdict("b", 1, "spurious"))
    table = VerdictTable(verdicts, places={"a": ((0.2, 0.2, 1.0),), "b": ((0.2, 0.2, 1.0),)})
    edit = SegmentVerdict("a", 1, "relevant")
    corrected = table.corrected_by(VerdictTable((edit,), places={"a": ((0.21, 0.2, 1.0),)}))
    assert corrected["a", 1].verdict == "relevant"
    assert corrected.places == table.places
    table.corrected_by(VerdictTable((edit,)))
    table.corrected_by(VerdictTable((edit,), places={"b": ((0.9, 0.2, 1.0),)}))  # judges no segment of it
    with pytest.raises(ValueError, match="'verdicts' argument must be .* made for these very segments"):
        table.corrected_by(VerdictTable((edit,), places={"a": ((0.3, 0.2, 1.0),)}))

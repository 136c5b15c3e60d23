"""Verdicts by declared regions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.critique import RegionCritic
from tests.critique.making import corner_and_centre, make_request, verdicts_of

# Four columns; the left half is irrelevant and the middle half relevant, where both are declared.
LEFT, MIDDLE = ("left", 0.5), (0, 0.25, 1, 0.75)


@pytest.mark.parametrize(
    ("declared", "verdicts"),
    [
        ({"irrelevant": [LEFT]}, ["spurious", "spurious", "relevant", "relevant"]),
        ({"relevant": [MIDDLE]}, ["spurious", "relevant", "relevant", "spurious"]),
        ({"irrelevant": [LEFT], "relevant": [MIDDLE]}, ["spurious", "unsure", "relevant", "unsure"]),
        ({"relevant": [MIDDLE], "irrelevant": [LEFT]}, ["spurious", "unsure", "relevant", "unsure"]),
    ],
)
def test_the_rule(declared, verdicts):
    request = make_request([[1, 2, 3, 4]])
    assert verdicts_of(RegionCritic(declared).critique([request])) == [verdicts]
    assert verdicts_of(RegionCritic({"3": declared}).critique([request])) == [verdicts]


def test_threshold_is_the_share_of_effect():
    request = make_request([[1, 1, 1, 1]], effect=[[4, 2, 2, 2]])
    for threshold, verdict in ((0.6, "spurious"), (0.61, "relevant")):
        assert verdicts_of(RegionCritic({"irrelevant": [LEFT]}, threshold).critique([request])) == [[verdict]]


def test_each_class_by_its_own_declaration():
    critic = RegionCritic({3: {"irrelevant": ["corners"]}, "8": {"relevant": ["corners"]}})
    assert critic.classes == ("3", "8")
    requests = [corner_and_centre(index=i, label=label) for i, label in enumerate("387")]
    critiques = critic.critique(requests)
    assert verdicts_of(critiques) == [
        ["spurious", "relevant"],
        ["relevant", "spurious"],
        ["unsure", "unsure"],
    ]
    assert critiques[2].verdicts[0].reason == "no region is declared for class '7'"
    assert RegionCritic({"irrelevant": ["corners"]}).classes == ()


def test_reasons_read_well():
    segments = np.zeros((10, 10), int)
    segments[:2, :3] = 1  # four of six pixels in the corner
    critic = RegionCritic({"3": {"irrelevant": ["corners", (0.9, 0, 1, 1)]}})
    verdict = critic.critique([make_request(segments)])[0].verdicts[0]
    assert verdict.source == "region"
    assert verdict.reason == (
        "67 % of its effect lies in the corners or the box (0.9, 0, 1, 1), declared irrelevant for class '3'"
    )


def test_the_specification_is_left_as_it_is_and_may_come_from_json():
    specification = {"3": {"irrelevant": [["corners", 0.2], [0, 0, 0.5, 0.5]]}}
    RegionCritic(specification).critique([corner_and_centre()])
    assert specification == {"3": {"irrelevant": [["corners", 0.2], [0, 0, 0.5, 0.5]]}}


@pytest.mark.parametrize(
    ("specification", "error", "message"),
    [
        (["corners"], TypeError, r"mappings such as \{'irrelevant': \['corners'\]\}"),
        ({}, ValueError, "Got an empty one"),
        ({"3": {}}, ValueError, "Got an empty one"),
        ({"3": {"irrelevant": ["corners"]}, "irrelevant": ["top"]}, TypeError, r"Got \['top'\] instead"),
        ({"irrelevnt": ["corners"]}, ValueError, "Did you mean 'irrelevant'"),
        ({"3": {"irelevant": ["corners"]}}, ValueError, "Did you mean 'irrelevant'"),
        ({"irrelevant": "corners"}, TypeError, r"A single region is a list of one: \['corners'\]"),
        ({"irrelevant": []}, ValueError, "at least one region under 'irrelevant'"),
        ({"irrelevant": ["conrers"]}, ValueError, "Did you mean 'corners'"),
        ({3: {"relevant": ["top"]}, "3": {"relevant": ["top"]}}, ValueError, "Got '3' twice"),
    ],
)
def test_wrong_specifications(specification, error, message):
    with pytest.raises(error, match=message):
        RegionCritic(specification)


def test_wrong_threshold_and_empty_region():
    with pytest.raises(ValueError, match="'threshold'"):
        RegionCritic({"irrelevant": ["corners"]}, threshold=1.5)
    with pytest.raises(ValueError, match="the corners, which covers none of an image of 4x4 pixels"):
        RegionCritic({"irrelevant": [("corners", 0.05)]}).critique([make_request(np.ones((4, 4)))])


@given(
    st.sampled_from(["irrelevant", "relevant"]),
    st.floats(0.01, 1),
    st.lists(st.integers(0, 9), min_size=2, max_size=6).filter(any),
)
def test_a_reason_says_what_was_judged(kind, threshold, effect):
    """The only segment has as much effect in the left half as the reason says, or the rest of it outside."""
    inside = sum(effect[: len(effect) // 2]) / sum(effect)
    half = (0, 0, 1, len(effect) // 2 / len(effect))
    request = make_request([[1] * len(effect)], effect=[effect])
    (critique,) = RegionCritic({kind: [half]}, threshold).critique([request])
    (verdict,) = critique.verdicts
    figure, _, rest = verdict.reason.partition(" % of its effect lies ")
    where = rest.split()[0]
    assert abs(float(figure) / 100 - (inside if where == "in" else 1 - inside)) < 0.0051
    assert (verdict.verdict == "spurious") == ((where == "in") == (kind == "irrelevant"))

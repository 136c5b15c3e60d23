"""The spurious share of positive effect, and the accuracy for the right reasons: by hand, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lvlm_va.metrics import right_reasons_accuracy, spurious_share

SHAPE = (4, 2, 3, 3)
MAPS = arrays(np.float64, SHAPE, elements=st.floats(-1e3, 1e3))
MASKS = arrays(np.bool_, (4, 3, 3))
LABELS = arrays(np.int64, 4, elements=st.integers(0, 2))


def oracle(y_true, y_pred, attributions, masks) -> float:
    points = []
    for i in range(len(y_true)):
        effect = np.maximum(attributions[i].sum(0), 0)
        share = effect[masks[i]].sum() / effect.sum() if effect.sum() > 0 else 0
        points.append((y_true[i] == y_pred[i]) * (1 - share))
    return float(np.mean(points))


@given(LABELS, LABELS, MAPS, MASKS)
def test_equals_the_definition(y_true, y_pred, attributions, masks):
    score = right_reasons_accuracy(y_true, y_pred, attributions=attributions, masks=masks)
    assert score == pytest.approx(oracle(y_true, y_pred, attributions, masks), abs=1e-12)


@given(LABELS, MAPS, MASKS)
def test_is_one_less_the_share_where_all_are_right(labels, attributions, masks):
    score = right_reasons_accuracy(labels, labels, attributions=attributions, masks=masks)
    assert score == pytest.approx(1 - spurious_share(attributions, masks), abs=1e-12)


@given(LABELS, LABELS, MAPS, MASKS)
def test_lies_between_0_and_the_accuracy(y_true, y_pred, attributions, masks):
    accuracy = float(np.mean(y_true == y_pred))
    assert 0 <= spurious_share(attributions, masks) <= 1
    assert 0 <= right_reasons_accuracy(y_true, y_pred, attributions=attributions, masks=masks) <= accuracy
    nowhere = np.zeros_like(masks)
    assert right_reasons_accuracy(y_true, y_pred, attributions=attributions, masks=nowhere) == accuracy


@given(LABELS, LABELS, MAPS, MASKS, MASKS)
def test_a_larger_mask_never_scores_better(y_true, y_pred, attributions, masks, more):
    smaller, larger = (
        right_reasons_accuracy(y_true, y_pred, attributions=attributions, masks=part)
        for part in (masks, masks | more)
    )
    assert larger <= smaller
    assert spurious_share(attributions, masks) <= spurious_share(attributions, masks | more)


def test_a_net_that_looks_at_nothing_has_no_share_but_is_right_by_chance_only():
    nothing, everywhere = np.zeros(SHAPE), np.ones((4, 3, 3), bool)
    assert spurious_share(nothing, everywhere) == 0
    y_true, constant = np.array([0, 1, 2, 3]), np.zeros(4)
    assert right_reasons_accuracy(y_true, constant, attributions=nothing, masks=everywhere) == 0.25


def test_tiny_and_huge_effects_have_shares():
    attributions = np.zeros((2, 1, 1, 2))
    attributions[0], attributions[1] = 5e-324, 5e307
    assert spurious_share(attributions, np.array([[[1, 0]], [[1, 0]]])) == 0.5


def test_takes_tensors_of_any_precision_and_names_as_labels():
    attributions, masks = torch.ones(2, 1, 1, 4, dtype=torch.float16), torch.tensor([[[1, 0, 0, 0]]] * 2)
    score = right_reasons_accuracy(["cat", "dog"], ["cat", "cat"], attributions=attributions, masks=masks)
    assert score == 0.375


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_pred": [0]}, r"'y_pred' argument must have shape \(2,\).* Got \(1,\)"),
        ({"y_true": [[0], [1]]}, r"'y_true' argument must have shape \(2,\).* Got \(2, 1\)"),
        ({"attributions": np.full((2, 1, 2, 2), np.nan)}, r"'attributions' argument must be finite"),
        ({"attributions": np.ones((2, 2, 2))}, r"'attributions' argument must have shape \(n, C, H, W\)"),
        ({"masks": np.ones((2, 3, 3))}, r"'masks' argument must have shape \(2, 2, 2\)"),
        ({"masks": np.full((2, 2, 2), 0.5)}, r"'masks' argument must be boolean or hold 0 and 1 only"),
        (
            {"attributions": np.ones((0, 1, 2, 2)), "masks": np.ones((0, 2, 2))},
            r"'attributions' argument must hold at least one image",
        ),
    ],
)
def test_arguments_are_checked(changes, message):
    arguments = {
        "y_true": [0, 1],
        "y_pred": [0, 1],
        "attributions": np.ones((2, 1, 2, 2)),
        "masks": np.ones((2, 2, 2)),
    } | changes
    with pytest.raises(ValueError, match=message):
        right_reasons_accuracy(arguments.pop("y_true"), arguments.pop("y_pred"), **arguments)

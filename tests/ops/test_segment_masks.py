"""Masks from verdicts and segments."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvlm_va.ops import segment_masks


def test_masks_the_spurious_segments_and_never_the_background() -> None:
    labels = torch.tensor([[[0, 1], [2, 1]], [[3, 0], [0, 2]]])
    spurious = torch.tensor([[True, False, True], [False, True, True]])
    expected = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    assert torch.equal(segment_masks(labels, spurious), expected)
    for dtype in (torch.bool, torch.float64, torch.uint8):
        assert torch.equal(segment_masks(labels, spurious, dtype=dtype), expected.to(dtype))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 99))
def test_equals_its_definition(n: int, height: int, width: int, n_segments: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, n_segments + 1, (n, height, width), generator=draw)
    spurious = torch.rand((n, n_segments), generator=draw) > 0.5
    expected = torch.zeros((n, height, width))
    for j in range(n_segments):
        expected += spurious[:, j, None, None] * (labels == j + 1)
    assert torch.equal(segment_masks(labels.mT.contiguous().mT, spurious), expected)


LABELS = torch.zeros((2, 3, 3), dtype=torch.int64)
SPURIOUS = torch.zeros((2, 2), dtype=torch.bool)


@pytest.mark.parametrize(
    ("labels", "spurious", "error", "message"),
    [
        (LABELS.float(), SPURIOUS, TypeError, r"'labels' argument must be a int64.*Got dtype float32"),
        (LABELS, SPURIOUS.float(), TypeError, r"'spurious' argument must be a bool.*Got dtype float32"),
        (LABELS[0], SPURIOUS, ValueError, r"'labels'.*\(n, H, W\).*Got shape \(3, 3\)"),
        (LABELS, SPURIOUS[:1], ValueError, r"'spurious'.*\(2, 2\).*one row per image.*Got \(1, 2\)"),
        (LABELS + 3, SPURIOUS, ValueError, r"'labels' argument must lie in 0\.\.2.*Got 3 instead"),
        (LABELS - 1, SPURIOUS, ValueError, r"'labels' argument must lie in 0\.\.2.*Got -1 instead"),
    ],
)
def test_errors(labels: Tensor, spurious: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        segment_masks(labels, spurious)

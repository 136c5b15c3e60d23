"""Masks from verdicts and segments."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck

from lvlm_va.ops import has_native, segment_masks
from lvlm_va.ops.reference import segment_masks as reference
from tests.ops.samples import NOT_EMULATED, generator

MASK_DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]


def random_inputs(
    n: int, height: int, width: int, n_segments: int, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    draw = generator()
    labels = torch.randint(0, n_segments + 1, (n, height, width), generator=draw)
    return labels.to(device), (torch.rand((n, n_segments), generator=draw) > 0.5).to(device)


@pytest.mark.parametrize("dtype", MASK_DTYPES)
def test_equals_the_oracle(dtype: torch.dtype, device: str) -> None:
    # The last one is longer than a kernel's piece.
    for shape in ((3, 5, 7, 4), (1, 1, 1, 1), (2, 3, 4, 0), (0, 3, 4, 2), (2, 0, 4, 2), (2, 131, 257, 300)):
        labels, spurious = random_inputs(*shape, device)
        mask = segment_masks(labels, spurious, dtype=dtype)
        assert mask.dtype == dtype
        assert torch.equal(mask, reference.segment_masks(labels, spurious, dtype))


def test_strided_inputs(device: str) -> None:
    labels, spurious = random_inputs(3, 6, 10, 4, device)
    expected = segment_masks(labels, spurious)
    for other in (labels.mT.contiguous().mT, torch.stack([labels, labels + 9], dim=-1)[..., 0]):
        assert torch.equal(segment_masks(other, spurious.T.contiguous().T), expected)


def test_one_image_has_the_same_mask_on_any_number_of_threads() -> None:
    labels, spurious = random_inputs(1, 300, 400, 6)
    n_threads = torch.get_num_threads()
    try:
        masks = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            masks.append(segment_masks(labels, spurious))
            # Whichever thread meets it.
            with pytest.raises(ValueError, match="Got 7 instead"):
                segment_masks(labels + (torch.arange(400) == 399), spurious)
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(*masks)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
def test_opcheck(device: str) -> None:
    op = torch.ops.lvlm_va.segment_masks.default
    for dtype in (torch.float32, torch.bool):
        opcheck(op, (*random_inputs(2, 3, 4, 2, device), dtype))
    assert not op(*random_inputs(2, 3, 4, 2, device), torch.float64).requires_grad


def test_compiles_without_graph_breaks() -> None:
    inputs = random_inputs(2, 3, 4, 2)
    compiled = torch.compile(segment_masks, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*inputs), segment_masks(*inputs))


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


def test_refuses_a_dtype_that_no_mask_has() -> None:
    for dtype in (torch.complex64, torch.float8_e5m2):
        with pytest.raises(TypeError, match=r"'dtype' argument must be bool, .*Got torch\..* instead"):
            segment_masks(LABELS, SPURIOUS, dtype=dtype)


@pytest.mark.skipif(not has_native(), reason="the reference is not called bare")
def test_the_bare_op_refuses_what_does_not_fit() -> None:
    op = torch.ops.lvlm_va.segment_masks.default
    for labels, spurious, dtype in (
        (LABELS[0], SPURIOUS, torch.float32),
        (LABELS, SPURIOUS[:1], torch.float32),
        (LABELS.int(), SPURIOUS, torch.float32),
        (LABELS, SPURIOUS.float(), torch.float32),
        (LABELS, SPURIOUS, torch.complex64),
        (LABELS + 3, SPURIOUS, torch.float32),
    ):
        with pytest.raises(RuntimeError, match="argument"):
            op(labels, spurious, dtype)

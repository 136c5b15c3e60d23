"""What the kernels for CUDA promise beyond those for the CPU: csrc/ops/*.h has it."""

from __future__ import annotations

import pytest
import torch

from lvlm_va.ops import EMResult
from lvlm_va.ops.reference import attribution as attribution_oracle
from lvlm_va.ops.reference.ppeps_em import ppeps_em as em_oracle
from tests.ops.samples import CUDA, EMULATED, assert_fits_equal, em_inputs, pool_inputs
from tests.tolerances import OP

ops = torch.ops.lvlm_va
pytestmark = pytest.mark.parametrize("device", [EMULATED, CUDA], indirect=True)
RTOL, ATOL = OP[torch.float64]


@pytest.mark.parametrize("outside", [-1, 156, 2**62, -(2**62)])
def test_a_plane_with_an_index_outside_becomes_nan(outside: int, device: str) -> None:
    """A launch cannot raise for what it finds in memory."""
    gradient, u, r, i, j = pool_inputs(torch.float64)
    expected = attribution_oracle.maxpool_rescale(gradient, u, r, i, j)
    i[0, 1, 2, 40] = j[1, 0, 0, 3] = outside
    expected[:, 1, 2] = expected[1, :, 0] = torch.nan
    got = ops.maxpool_rescale.default(*(t.to(device) for t in (gradient, u, r, i, j)))
    torch.testing.assert_close(got.cpu(), expected, rtol=RTOL, atol=ATOL, equal_nan=True)


def test_a_label_that_is_no_segment_is_not_masked(device: str) -> None:
    labels = torch.tensor([[[-1, 0, 1, 2, 3, 2**62, -(2**62)]]], device=device)
    spurious = torch.tensor([[True, True]], device=device)
    assert ops.segment_masks.default(labels, spurious, torch.int8).tolist() == [[[0, 0, 1, 1, 0, 0, 0]]]


def test_as_many_components_as_fit_in_shared_memory(device: str) -> None:
    inputs = em_inputs(1, 6, 7, 256)
    options = (1e-3, 1e-3, 1, 0.0)
    fit = ops.ppeps_em.default(*(tensor.to(device) for tensor in inputs), *options)
    expected = EMResult(*em_oracle(*inputs, *options))
    assert_fits_equal(EMResult(*(tensor.cpu() for tensor in fit)), expected, RTOL, ATOL)
    more = (tensor.to(device) for tensor in em_inputs(1, 6, 7, 257))
    with pytest.raises(
        RuntimeError, match="'shares' argument must have at most 256 components on CUDA. Got 257"
    ):
        ops.ppeps_em.default(*more, *options)

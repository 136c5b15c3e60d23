"""The weighted EM against its oracle, what its results promise, its dispatch, and its errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from lvlm_va.ops import EMResult, ppeps_em
from lvlm_va.ops.reference.ppeps_em import ppeps_em as oracle
from tests.ops.samples import DTYPES, NOT_EMULATED, assert_fits_equal, em_inputs
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]


def fit_by_oracle(
    inputs: tuple[Tensor, ...], floor: tuple[float, float], max_iter: int = 100, tol: float = 1e-4
) -> EMResult:
    weights, *start = (tensor.cpu() for tensor in inputs)
    return EMResult(*oracle(weights, *start, *floor, max_iter, tol))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "height", "width", "n_components"),
    [(3, 16, 16, 3), (2, 7, 13, 5), (1, 1, 1, 1), (2, 1, 9, 2), (2, 65, 67, 8), (0, 4, 4, 2), (2, 4, 4, 0)],
)
@pytest.mark.parametrize("floor", [(0.0, 0.0), (1e-3, 1e-3), (0.02, 0.08)])
def test_equals_the_oracle(
    n: int, height: int, width: int, n_components: int, floor: Any, dtype: torch.dtype, device: str
) -> None:
    inputs = em_inputs(n, height, width, n_components, dtype=dtype)
    options = {"max_iter": 10, "tol": 0.0}
    fit = ppeps_em(*(tensor.to(device) for tensor in inputs), covariance_floor=floor, **options)
    fit = EMResult(*(tensor.cpu() for tensor in fit))
    assert_fits_equal(fit, fit_by_oracle(inputs, floor, **options), RTOL, ATOL)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_only_ratios_of_weights_matter(scale: float, device: str) -> None:
    weights, *start = (tensor.to(device) for tensor in em_inputs(2, 9, 9, 3))
    assert_fits_equal(ppeps_em(weights * scale, *start), ppeps_em(weights, *start), RTOL, ATOL)


def test_strided_inputs(device: str) -> None:
    inputs = [tensor.to(device) for tensor in em_inputs(2, 6, 10, 3)]
    strided = [torch.stack([tensor, tensor + 1], dim=-1)[..., 0] for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in strided)
    assert_fits_equal(ppeps_em(*strided), ppeps_em(*inputs), 0, 0)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
def test_an_image_does_not_depend_on_its_batch_mates(device: str) -> None:
    inputs = [tensor.to(device) for tensor in em_inputs(6, 12, 12, 3)]
    inputs[0][2] = 0
    together = ppeps_em(*inputs)
    assert len(set(together.n_iter.tolist())) > 2
    for i in range(6):
        alone = ppeps_em(*(tensor[i : i + 1] for tensor in inputs))
        assert_fits_equal(alone, EMResult(*(tensor[i : i + 1] for tensor in together)), 0, 0)


def test_an_image_without_weight_keeps_its_start(device: str) -> None:
    weights, *start = (tensor.to(device) for tensor in em_inputs(2, 5, 5, 3))
    weights[0] = 0
    fit = ppeps_em(weights, *start, covariance_floor=(1.0, 1.0))
    assert torch.equal(fit.means[0], start[0][0])
    assert torch.equal(fit.covariances[0], start[1][0])
    assert not fit.shares[0].any()
    assert not fit.labels[0].any()
    assert fit.log_likelihood[0] == 0
    assert fit.n_iter[0] == 0
    assert fit.labels[1].any()


def test_absent_components_change_nothing_and_are_not_read(device: str) -> None:
    weights, means, covariances, shares = (tensor.to(device) for tensor in em_inputs(2, 8, 8, 4))
    shares[:, 1] = 0
    means[:, 1] = math.nan
    covariances[:, 1] = math.nan
    fit = ppeps_em(weights, means, covariances, shares)
    kept = torch.tensor([0, 2, 3], device=device)
    fewer = ppeps_em(weights, means[:, kept], covariances[:, kept], shares[:, kept])
    assert not fit.shares[:, 1].any()
    assert fit.means[:, 1].isnan().all()
    for name in ("means", "covariances", "shares"):
        assert torch.equal(getattr(fit, name)[:, kept], getattr(fewer, name))
    assert torch.equal(fit.log_likelihood, fewer.log_likelihood)
    numbers = torch.tensor([0, 1, 3, 4], device=device)
    assert torch.equal(fit.labels, numbers[fewer.labels])
    none = ppeps_em(weights, means, covariances, torch.zeros_like(shares))
    assert not none.labels.any()
    assert not none.n_iter.any()


def test_a_component_without_pixels_dies(device: str) -> None:
    weights, means, covariances, shares = (tensor.to(device) for tensor in em_inputs(1, 8, 8, 2))
    means[0, 1] = 40.0
    fit = ppeps_em(weights, means, covariances, shares)
    assert fit.shares.tolist() == [[pytest.approx(1), 0]]
    assert torch.equal(fit.means[0, 1], means[0, 1])
    assert torch.equal(fit.covariances[0, 1], covariances[0, 1])
    assert all(bool(tensor.isfinite().all()) for tensor in fit)
    assert set(fit.labels.unique().tolist()) <= {0, 1}


def test_a_start_below_the_floor_is_raised_to_it() -> None:
    weights, means, covariances, shares = em_inputs(1, 8, 8, 2)
    flat = torch.tensor([[0.5, 0.3], [0.3, 0.2]], dtype=torch.float64)
    low = ppeps_em(weights, means, 1e-9 * covariances, shares, covariance_floor=(0.3, 0.1), max_iter=0)
    lowest = torch.diag(torch.tensor([0.3, 0.1], dtype=torch.float64)).expand(1, 2, 2, 2)
    torch.testing.assert_close(low.covariances, lowest, rtol=RTOL, atol=ATOL)
    mixed = ppeps_em(weights, means, flat.expand(1, 2, 2, 2), shares, covariance_floor=(0.1, 0.1), max_iter=0)
    values, vectors = torch.linalg.eigh(flat)
    expected = vectors @ torch.diag(values.clamp_min(0.1)) @ vectors.T
    torch.testing.assert_close(mixed.covariances[0, 0], expected, rtol=RTOL, atol=ATOL)


def test_stops_when_the_likelihood_hardly_grows() -> None:
    inputs = em_inputs(1, 16, 16, 3)
    values = [float(ppeps_em(*inputs, max_iter=k, tol=0).log_likelihood) for k in range(40)]
    growth = torch.tensor(values).diff()
    for tol in (1e-2, 1e-3, 1e-4):
        fit = ppeps_em(*inputs, max_iter=39, tol=tol)
        expected = int((growth < tol).nonzero()[0]) + 1
        assert fit.n_iter.tolist() == [expected]
        assert fit.log_likelihood.tolist() == [values[expected]]
    assert ppeps_em(*inputs, max_iter=7, tol=0).n_iter.tolist() == [7]


def test_is_not_differentiable_and_changes_no_input() -> None:
    inputs = em_inputs(1, 6, 6, 2)
    before = [tensor.clone() for tensor in inputs]
    fit = ppeps_em(*(tensor.requires_grad_() for tensor in inputs))
    assert not any(tensor.requires_grad for tensor in fit)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(requires_grad: bool, device: str) -> None:
    for dtype in DTYPES:
        inputs = [tensor.to(device) for tensor in em_inputs(2, 5, 6, 3, dtype=dtype)]
        inputs = [tensor.requires_grad_(requires_grad) for tensor in inputs]
        opcheck(torch.ops.lvlm_va.ppeps_em.default, (*inputs, 1e-3, 1e-3, 3, 1e-4))


def test_compiles_without_graph_breaks() -> None:
    inputs = em_inputs(2, 5, 6, 3)
    compiled = torch.compile(ppeps_em, fullgraph=True, backend="aot_eager")
    assert_fits_equal(compiled(*inputs), ppeps_em(*inputs), 0, 0)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"weights": [[1.0]]}, TypeError, r"'weights' argument must be a float32 or float64.*Got list instead"),
    ({"weights": torch.ones(2, 4, 4).long()}, TypeError, r"'weights'.*Got dtype int64 instead"),
    ({"weights": torch.ones(4, 4)}, ValueError, r"'weights'.*shape \(n, H, W\)\. Got shape \(4, 4\) instead"),
    ({"weights": torch.ones(2, 0, 4)}, ValueError, r"at least one row and one column.*\(2, 0, 4\)"),
    ({"weights": -torch.ones(2, 4, 4)}, ValueError, r"'weights'.*finite and >= 0\. Got values from -1.0"),
    ({"weights": torch.full((2, 4, 4), math.nan)}, ValueError, r"'weights'.*finite and >= 0.*nan"),
    ({"means": torch.zeros(2, 3, 2)}, TypeError, r"'means'.*float64.*Got dtype float32 instead"),
    ({"means": torch.zeros(2, 2, 2).double()}, ValueError, r"'means'.*\(2, 3, 2\).*Got \(2, 2, 2\)"),
    ({"means": torch.full((2, 3, 2), math.nan).double()}, ValueError, r"'means'.*finite wherever 'shares'"),
    ({"covariances": torch.ones(2, 3, 2, 1).double()}, ValueError, r"'covariances'.*\(2, 3, 2, 2\)"),
    ({"covariances": torch.full((2, 3, 2, 2), math.inf).double()}, ValueError, r"'covariances'.*finite"),
    ({"shares": torch.ones(1, 3).double()}, ValueError, r"'shares'.*\(2, 3\).*Got \(1, 3\)"),
    ({"shares": -torch.ones(2, 3).double()}, ValueError, r"'shares'.*finite and >= 0"),
    ({"shares": torch.ones(2, 3, device="meta").double()}, ValueError, r"'shares'.*device of 'weights', cpu"),
    ({"covariance_floor": (1.0,)}, ValueError, r"'covariance_floor'.*two finite variances"),
    ({"covariance_floor": (1.0, -1.0)}, ValueError, r"'covariance_floor'.*two finite variances"),
    ({"max_iter": 1.5}, TypeError, r"'max_iter' argument must be an int. Got float instead"),
    ({"max_iter": -1}, ValueError, r"'max_iter' argument must be >= 0. Got -1 instead"),
    ({"tol": math.nan}, ValueError, r"'tol' argument must be a finite number >= 0"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    names = ("weights", "means", "covariances", "shares")
    arguments = dict(zip(names, em_inputs(2, 4, 4, 3), strict=True))
    with pytest.raises(error, match=message):
        ppeps_em(**(arguments | change))

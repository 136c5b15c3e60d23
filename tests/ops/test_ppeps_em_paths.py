"""The weighted EM's ways through an image against its oracle: blocks, listed pixels, and what falls back.

On the CPU a block is 8 columns wide and 64 rows high. It is walked down with products where at least 64 of its
pixels have weight and no component is too steep; else each pixel gets its exponentials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lvlm_va.ops import EMResult, ppeps_em
from lvlm_va.ops.reference.ppeps_em import ppeps_em as oracle
from tests.ops.samples import NOT_EMULATED, assert_fits_equal, em_inputs, generator
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]


def assert_equals_the_oracle(
    inputs: tuple[Tensor, ...], device: str, floor: tuple[float, float], max_iter: int, tol: float = 0.0
) -> EMResult:
    fit = ppeps_em(
        *(tensor.to(device) for tensor in inputs), covariance_floor=floor, max_iter=max_iter, tol=tol
    )
    fit = EMResult(*(tensor.cpu() for tensor in fit))
    weights, *start = inputs
    assert_fits_equal(fit, EMResult(*oracle(weights, *start, *floor, max_iter, tol)), RTOL, ATOL)
    return fit


def keep(weights: Tensor, share: float) -> Tensor:
    """Return the weights with all but a random share of the pixels at 0."""
    return (weights + 0.01) * (torch.rand(weights.shape, generator=generator(1)) < share)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.15, 0.02])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 300), (300, 1), (64, 8), (63, 7), (65, 9), (130, 50), (31, 448)]
)
def test_dense_and_sparse_maps(height: int, width: int, share: float, device: str) -> None:
    weights, *start = em_inputs(1, height, width, 4)
    floor = (1 / (12 * height**2), 1 / (12 * width**2))
    assert_equals_the_oracle((keep(weights, share), *start), device, floor, 10)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
def test_maps_that_are_dense_in_places(device: str) -> None:
    weights, *start = em_inputs(2, 140, 60, 5)
    weights = keep(weights, 0.9)
    weights[:, :70, :30] = keep(weights[:, :70, :30], 0.03)
    weights[1, 64:128, 8:16] = 0
    assert_equals_the_oracle((weights, *start), device, (1e-5, 1e-5), 20)
    assert_equals_the_oracle((weights, *start), device, (1e-5, 1e-5), 100, tol=1e-4)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
@pytest.mark.parametrize("n_components", [1, 8, 9, 16, 17, 20])
def test_few_and_many_components(n_components: int, device: str) -> None:
    assert_equals_the_oracle(em_inputs(1, 70, 40, n_components), device, (1e-5, 1e-5), 8)


@pytest.mark.parametrize("variance", [1e-3, 1e-5, 1e-7, 1e-10, 1e-12])
def test_steep_components(variance: float, device: str) -> None:
    """From ones that leave the far blocks, over ones too steep for products, to ones within a pixel."""
    weights, means, covariances, shares = em_inputs(1, 100, 48, 4)
    covariances[:, :2] = variance * torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=torch.float64)
    # Onto a pixel's centre, or densities within a pixel would be left to rounding.
    means[0, 0] = torch.tensor([30.5 / 100, 20.5 / 48])
    inputs = (weights + 0.1, means, covariances, shares)
    assert_equals_the_oracle(inputs, device, (0.0, 0.0), 0)
    assert_equals_the_oracle(inputs, device, (1e-5, 1e-5), 5)


@pytest.mark.parametrize("away", [(3.0, -2.0), (40.0, 0.5), (-0.5, 300.0)])
@pytest.mark.parametrize("variance", [0.03, 1e-3])
def test_densities_that_underflow_everywhere(variance: float, away: tuple[float, float], device: str) -> None:
    """Only the ratios of densities matter, however small all of them are."""
    weights, means, covariances, shares = em_inputs(1, 90, 40, 3)
    covariances *= variance / 0.05
    means += torch.tensor(away, dtype=torch.float64)
    fit = assert_equals_the_oracle((weights, means, covariances, shares), device, (1e-4, 1e-4), 0)
    assert float(fit.log_likelihood) < -20
    assert_equals_the_oracle((weights, means, covariances, shares), device, (1e-4, 1e-4), 3)


@pytest.mark.parametrize("device", NOT_EMULATED, indirect=True)
def test_a_small_variance_far_from_the_origin_loses_no_digits(device: str) -> None:
    """A tenth of a pixel wide, in the last rows of a large map whose other weights are as good as nothing."""
    height = width = 448
    row, column = 440, 443
    weights = torch.full((1, height, width), 1e-40, dtype=torch.float64)
    weights[0, row, column] = 1.0
    weights[0, row + 1, column] = 0.01
    weights[0, row, column - 1] = 0.02
    total = 1.03
    mean = [(row + 0.5 + 0.01 / total) / height, (column + 0.5 - 0.02 / total) / width]
    expected = [
        (0.01 / total - (0.01 / total) ** 2) / height**2,
        (0.01 / total) * (0.02 / total) / (height * width),
        (0.02 / total - (0.02 / total) ** 2) / width**2,
    ]
    fit = ppeps_em(
        weights.to(device),
        torch.tensor([[mean]], dtype=torch.float64, device=device),
        0.01 * torch.eye(2, dtype=torch.float64, device=device).expand(1, 1, 2, 2),
        torch.ones(1, 1, dtype=torch.float64, device=device),
        covariance_floor=(0.0, 0.0),
        max_iter=3,
        tol=0,
    )
    covariance = fit.covariances[0, 0].cpu()
    found = torch.stack([covariance[0, 0], covariance[0, 1], covariance[1, 1]])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=RTOL, atol=0)
    torch.testing.assert_close(
        fit.means[0, 0].cpu(), torch.tensor(mean, dtype=torch.float64), rtol=RTOL, atol=0
    )


def test_rows_of_448_pixels_and_weights_of_any_size() -> None:
    weights, *start = em_inputs(1, 64, 448, 5)
    spread = 10.0 ** (-30 * torch.rand(weights.shape, generator=generator(2), dtype=torch.float64))
    assert_equals_the_oracle((weights * spread, *start), "cpu", (1e-6, 1e-6), 10)


@pytest.fixture
def threads() -> Iterator[None]:
    """Put the number of threads back after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("n", [1, 2, 5])
def test_is_bit_equal_for_any_number_of_threads(n: int) -> None:
    inputs = em_inputs(n, 140, 90, 5)
    inputs[0][-1] = keep(inputs[0][-1], 0.05)
    fits = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        fits.append(ppeps_em(*inputs, max_iter=30, tol=0))
    for fit in fits[1:]:
        assert_fits_equal(fit, fits[0], 0, 0)


def test_the_likelihood_of_the_last_step_does_not_depend_on_when_it_is_read() -> None:
    """With `tol` 0 it is read once, at the end; else in every step."""
    inputs = em_inputs(2, 70, 40, 3)
    fits = [ppeps_em(*inputs, max_iter=12, tol=tol) for tol in (0.0, math.ulp(0.0))]
    assert_fits_equal(fits[1], fits[0], 0, 0)

"""Weighted k-means++: drawn by weight, one pixel once, empty past the support."""

from __future__ import annotations

import pytest
import torch

from lvlm_va.segmentation.starts import draw_uniforms, kmeans_plus_plus
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]


def uniforms(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_uniforms_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    assert torch.equal(draw_uniforms(3, 2, 4), draw_uniforms(3, 2, 4))
    assert not torch.equal(draw_uniforms(3, 2, 4), draw_uniforms(4, 2, 4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("uniform", "column"), [(0.0, 1), (0.2, 1), (0.25, 3), (0.9, 3), (1 - 2**-53, 3)])
def test_the_first_centre_is_drawn_by_weight(uniform, column):
    weights = torch.tensor([[[0.0, 0.25, 0.0, 0.75, 0.0]]], dtype=torch.float64)
    means, _, shares = kmeans_plus_plus(weights, uniforms(uniform, 0.5))
    # The other pixel with weight becomes the second centre.
    expected = [(column + 0.5) / 5, (4 - column + 0.5) / 5]
    torch.testing.assert_close(means[0, :, 1], uniforms(*expected), rtol=RTOL, atol=ATOL)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, dtype=torch.float64), rtol=RTOL, atol=ATOL)


def test_components_past_the_support_are_absent():
    weights = torch.zeros(2, 4, 4, dtype=torch.float64)
    weights[0, 1, 2], weights[0, 3, 3] = 0.5, 0.5
    _, _, shares = kmeans_plus_plus(weights, uniforms(0.1, 0.2, 0.3, 0.4))
    assert (shares[0] > 0).tolist() == [True, True, False, False]
    assert (shares[1] == 0).all()


def test_start_has_the_moments_of_the_cells():
    weights = torch.zeros(1, 10, 20, dtype=torch.float64)
    weights[0, 2, 3:6] = 0.2
    weights[0, 7, 15] = 0.4
    means, covariances, shares = kmeans_plus_plus(weights, uniforms(0.99, 0.5))
    torch.testing.assert_close(shares[0], uniforms(0.4, 0.6), rtol=RTOL, atol=ATOL)
    torch.testing.assert_close(means[0, 1], uniforms(0.25, 4.5 / 20), rtol=RTOL, atol=ATOL)
    # Columns 3, 4, 5 have variance 2/3; a pixel adds 1/12.
    expected = uniforms(1 / 12 / 100, (2 / 3 + 1 / 12) / 400).diag()
    torch.testing.assert_close(covariances[0, 1], expected, rtol=RTOL, atol=ATOL)

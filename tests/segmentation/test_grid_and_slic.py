"""The segmenters to compare with."""

from __future__ import annotations

import builtins

import pytest
import torch

from lvlm_va.segmentation import SLIC, Grid
from tests.segmentation.maps import noise, single_pixels
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def test_grid_cells_become_segments_by_share():
    attributions = single_pixels((8, 8), [(0, 0, 1.0), (1, 3, 1.0), (7, 7, 6.0), (0, 7, 2.0), (2, 0, -4.0)])
    found = Grid(n_rows=2, n_columns=2, min_share=0.0).segment(attributions, attributions, 0)
    assert found.n_segments.tolist() == [3]
    pixels = [(7, 7), (0, 0), (1, 3), (0, 7), (2, 0)]
    assert [int(found.labels[0, row, column]) for row, column in pixels] == [1, 2, 2, 3, 0]
    covariance = [[0.25 / 64, 0.75 / 64], [0.75 / 64, 2.25 / 64]]
    torch.testing.assert_close(found.shares[0], doubles([0.6, 0.2, 0.2, 0.0]), rtol=RTOL, atol=ATOL)
    torch.testing.assert_close(found.means[0, 1], doubles([1 / 8, 2 / 8]), rtol=RTOL, atol=ATOL)
    torch.testing.assert_close(found.covariances[0, 1], doubles(covariance), rtol=RTOL, atol=ATOL)


def test_weak_cells_belong_to_no_segment():
    attributions = single_pixels((4, 4), [(0, 0, 0.95), (3, 3, 0.05)])
    found = Grid(n_rows=2, n_columns=2, min_share=0.1).segment(attributions, attributions, 0)
    assert found.n_segments.tolist() == [1]
    assert found.labels[0, 3, 3] == 0
    assert float(found.shares.sum()) == pytest.approx(0.95, rel=RTOL)


def test_a_grid_finer_than_the_image_is_its_pixels():
    attributions = torch.ones(1, 1, 2, 3)
    found = Grid(n_rows=5, n_columns=7, min_share=0.0).segment(attributions, attributions, 0)
    assert found.n_segments.tolist() == [6]
    assert found.labels.unique().tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_slic_follows_the_image(channels):
    images = torch.zeros(1, channels, 20, 20)
    images[..., 10:] = 1.0
    found = SLIC(n_segments=4, min_share=0.0).segment(torch.ones(1, 1, 20, 20), images, 0)
    left, right = found.labels[0, :, :10].unique(), found.labels[0, :, 10:].unique()
    assert not set(left.tolist()) & set(right.tolist())


def test_slic_keeps_the_strongest():
    # On this size scikit-image makes 25 superpixels of the 20 asked for.
    attributions = noise(0, 1, 1, 28, 28, density=1.0)
    found = SLIC(n_segments=20, min_share=0.0).segment(attributions, torch.zeros(1, 1, 28, 28), 0)
    assert found.shares.shape == (1, 20)
    assert found.n_segments.tolist() == [20]
    assert found.labels.max() == 20


def test_slic_bears_a_constant_image():
    found = SLIC(n_segments=4).segment(torch.ones(1, 1, 12, 12), torch.zeros(1, 1, 12, 12), 0)
    assert found.n_segments.tolist() == [4]


def test_slic_checks_the_images():
    attributions = torch.ones(2, 1, 6, 6)
    with pytest.raises(ValueError, match=r"'images' argument must have shape.*\(2, 1, 6, 5\)"):
        SLIC().segment(attributions, torch.zeros(2, 1, 6, 5), 0)
    with pytest.raises(ValueError, match=r"'images' argument must be finite"):
        SLIC().segment(attributions, torch.full((2, 1, 6, 6), torch.nan), 0)


def test_slic_says_how_to_install_scikit_image(monkeypatch: pytest.MonkeyPatch):
    original = builtins.__import__

    def without_skimage(name, *args, **kwargs):
        if name.startswith("skimage"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_skimage)
    with pytest.raises(ImportError, match=r"pip install 'lvlm-va\[slic\]'"):
        SLIC().segment(torch.ones(1, 1, 6, 6), torch.ones(1, 1, 6, 6), 0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Grid(n_rows=0), ValueError, "'n_rows' argument must be at least 1"),
        (lambda: Grid(n_columns=1.5), TypeError, "'n_columns' argument must be an integer"),
        (lambda: Grid(min_share=-0.1), ValueError, "'min_share'"),
        (lambda: SLIC(n_segments=0), ValueError, "'n_segments'"),
        (lambda: SLIC(compactness=0), ValueError, "'compactness' argument must be positive"),
        (lambda: SLIC(min_share=2), ValueError, "'min_share'"),
    ],
)
def test_parameters_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()

"""Families: regions of many images that lie at the same place, look alike, and are the same to the net."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from lvlm_va.auditing.regions import RegionTable

# Of the net's features as many directions as tell most.
_N_DIRECTIONS = 8
# No family of fewer regions, nor more families than this.
_SMALLEST, _MOST = 8, 24
_SMALLEST_AREA = 1e-4


class Clusterer(Protocol):
    """A clusterer as scikit-learn makes them: ``HDBSCAN()``, ``KMeans(10)``, ``AgglomerativeClustering(10)``."""

    def fit_predict(self, X: Any) -> Any:
        """Return the cluster of each row of (r, F), -1 for none."""


class FewestGaussians:
    """A mixture of Gaussians with diagonal covariances, as many as have the least BIC (Schwarz 1978).

    Parameters
    ----------
    most : int, default=24
        Most Gaussians.
    random_state : int, default=0
        Of their starts.
    """

    def __init__(self, most: int = _MOST, random_state: int = 0) -> None:
        self.most, self.random_state = most, random_state

    def fit_predict(self, X: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the cluster of each row of (r, F)."""
        n_different = len(np.unique(X, axis=0))
        counts = range(1, max(1, min(self.most, len(X) // _SMALLEST, n_different)) + 1)
        if len(counts) > 12:
            counts = counts[1::2]
        fitted = [self._mixture(count).fit(X) for count in counts]
        found = min(fitted, key=lambda mixture: mixture.bic(X)).predict(X)
        return np.asarray(found, np.int64)

    def _mixture(self, n: int) -> GaussianMixture:
        return GaussianMixture(n, covariance_type="diag", reg_covar=1e-3, random_state=self.random_state)


def describe(table: RegionTable, seed: int = 0, *, place: float = 1.0) -> NDArray[np.float64]:
    """Return what regions are grouped by: place, size, looks and the net's features, each kind as heavy as another.

    Parameters
    ----------
    table : RegionTable
        r regions.
    seed : int, default=0
        Of the directions of the net's features.
    place : float, default=1.0
        How heavy the place is beside the others.

    Returns
    -------
    ndarray of shape (r, F), float64
        Standardised.
    """
    area = np.log(table.area[:, None] + _SMALLEST_AREA)
    parts = [_standard(part) / np.sqrt(part.shape[1]) for part in (table.place, area, table.looks)]
    parts[0] *= place
    activations = _standard(table.activations)
    n = min(_N_DIRECTIONS, *activations.shape, len(table) - 1)
    if n > 0 and np.ptp(activations, 0).any():
        found = PCA(n, svd_solver="randomized", random_state=seed).fit_transform(activations)
        parts.append(found / (found.std() + 1e-6) / np.sqrt(n))
    return np.hstack(parts)


def find_families(
    table: RegionTable, clusterer: Clusterer | None = None, *, smallest: int = _SMALLEST, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Group regions into families.

    Parameters
    ----------
    table : RegionTable
        r regions.
    clusterer : Clusterer or None, default=None
        Who groups them; None is `FewestGaussians`: their number follows from the regions.
    smallest : int, default=8
        What has fewer regions is no family.
    seed : int, default=0
        Of all that is drawn.

    Returns
    -------
    families : ndarray of shape (r,), int64
        Family of each region, from 0, of most effect first; -1 for none.
    descriptors : ndarray of shape (r, F), float64
        What they were grouped by; see `describe`.

    Raises
    ------
    ValueError
        If there is no region.
    """
    if not len(table):
        raise ValueError(
            "The 'X' argument must hold images whose explanations have regions. Got none with any."
        )
    descriptors = describe(table, seed)
    given = np.asarray((clusterer or FewestGaussians(random_state=seed)).fit_predict(descriptors))
    names, counts = np.unique(given[given >= 0], return_counts=True)
    kept = names[counts >= smallest]
    order = sorted(kept, key=lambda name: -table.shares[given == name].sum())
    families = np.full(len(table), -1)
    for number, name in enumerate(order):
        families[given == name] = number
    return families, descriptors


def exemplars(descriptors: NDArray[np.float64], rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the regions most like their family as a whole, no two of one image.

    Parameters
    ----------
    descriptors : ndarray of shape (m, F)
        Of the family's regions.
    rows : ndarray of shape (m,)
        Their images.
    n : int
        How many at most.

    Returns
    -------
    ndarray of shape (<= n,), int64
        Positions 0..m - 1, the most typical first.
    """
    order = np.argsort(np.square(descriptors - np.median(descriptors, 0)).sum(1), kind="stable")
    _, first = np.unique(rows[order], return_index=True)
    return order[np.sort(first)[:n]]


def _standard(values: NDArray[Any]) -> NDArray[np.float64]:
    centred = values - values.mean(0)
    return np.asarray(centred / (centred.std(0) + 1e-6), np.float64)

"""Families that are asked about: few, each made of smaller ones, into which it falls where it holds two things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans

from lvlm_va.auditing.families import Clusterer, FewestGaussians, describe
from lvlm_va.auditing.regions import RegionTable

# A shortcut that moves about is one thing in all its places.
_PLACE = 0.5
# What has fewer regions is not split.
_SMALLEST = 6

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """A family of regions, and the smaller families that it is made of.

    Attributes
    ----------
    parts : tuple of ndarray of shape (m,), int64
        Rows of a `RegionTable`: the regions of each smaller family.
    """

    parts: tuple[Rows, ...]

    @property
    def members(self) -> Rows:
        """All its regions, in order."""
        return np.sort(np.concatenate(self.parts))


def find_groups(
    table: RegionTable, n: int, clusterer: Clusterer | None = None, *, seed: int = 0
) -> list[Group]:
    """Group regions into many small families, and these into few.

    Parameters
    ----------
    table : RegionTable
        One region or more.
    n : int
        Most groups.
    clusterer : Clusterer or None, default=None
        Who makes the small families; None is `FewestGaussians`. Regions that it puts nowhere (-1) are in no group.
    seed : int, default=0
        Of all that is drawn.

    Returns
    -------
    list of Group
        Of most effect first.
    """
    descriptors = describe(table, seed, place=_PLACE)
    found = np.asarray((clusterer or FewestGaussians(random_state=seed)).fit_predict(descriptors))
    parts = [np.flatnonzero(found == name) for name in np.unique(found[found >= 0])]
    groups = _joined(parts, descriptors, n)
    return sorted(groups, key=lambda group: -float(table.shares[group.members].sum()))


def halve(table: RegionTable, group: Group, *, seed: int = 0) -> tuple[Group, ...]:
    """Return a group as two: its smaller families in two groups, or the regions of a single one in two.

    Parameters
    ----------
    table : RegionTable
        All regions.
    group : Group
        The group.
    seed : int, default=0
        Of all that is drawn.

    Returns
    -------
    tuple of Group
        Two, of most effect first; none where there are too few regions to tell apart.
    """
    if len(group.parts) > 1:
        halves = _joined(group.parts, describe(table, seed, place=_PLACE), 2)
    else:
        members = group.members
        if len(members) < _SMALLEST:
            return ()
        of = _clusters(describe(table.select(members), seed), 2, seed)
        halves = [Group((members[of == half],)) for half in np.unique(of)]
    if len(halves) < 2:
        return ()
    return tuple(sorted(halves, key=lambda half: -float(table.shares[half.members].sum())))


def typical_members(table: RegionTable, group: Group, n: int, *, seed: int = 0) -> Rows:
    """Return typical regions of all parts of a group, no two of one image.

    They are of the class that the group speaks for most, except of parts that have no region of it: of these, they are
    of the part's own.

    Parameters
    ----------
    table : RegionTable
        All regions.
    group : Group
        The group.
    n : int
        How many at most.
    seed : int, default=0
        Of all that is drawn.

    Returns
    -------
    ndarray of shape (<= n,), int64
        Rows of the table, one of that class first.
    """
    main = _main_class(table.targets[group.members])
    # Those of the class itself first, then the largest: what is left out of many parts is small.
    parts = sorted(group.parts, key=lambda part: (main not in table.targets[part], -len(part)))[:n]
    chosen: list[int] = []
    for number, part in enumerate(parts):
        target = main if main in table.targets[part] else _main_class(table.targets[part])
        n_wanted = n // len(parts) + (number < n % len(parts))
        own = part[table.targets[part] == target]
        own = own[~np.isin(table.rows[own], table.rows[chosen])]
        chosen += _spread(table, own, n_wanted, seed)
    return np.array(chosen)


def _main_class(targets: NDArray[np.int64]) -> int:
    return int(np.bincount(targets).argmax())


def _spread(table: RegionTable, members: Rows, n: int, seed: int) -> list[int]:
    """Return a region from the middle of each of n clusters of some regions, no two of one image."""
    if len(members) < 2:
        return [int(member) for member in members]
    descriptors = describe(table.select(members), seed, place=_PLACE)
    of = _clusters(descriptors, n, seed)
    chosen: list[int] = []
    for cluster in np.argsort(-np.bincount(of), kind="stable"):
        inside = np.flatnonzero(of == cluster)
        middle = descriptors[inside].mean(0)
        order = members[inside[np.argsort(np.square(descriptors[inside] - middle).sum(1), kind="stable")]]
        chosen += order[~np.isin(table.rows[order], table.rows[chosen])][:1].tolist()
    return chosen


def _joined(parts: Sequence[Rows], descriptors: NDArray[np.float64], n: int) -> list[Group]:
    """Return families in at most n groups of those whose means are near each other."""
    if len(parts) <= n:
        return [Group((part,)) for part in parts]
    if n == 1:
        return [Group(tuple(parts))]
    means = np.stack([descriptors[part].mean(0) for part in parts])
    of = AgglomerativeClustering(n).fit_predict(means)
    return [
        Group(tuple(part for part, name in zip(parts, of, strict=True) if name == group))
        for group in range(n)
    ]


def _clusters(descriptors: NDArray[np.float64], n: int, seed: int) -> Rows:
    n = min(n, len(np.unique(descriptors, axis=0)))
    found = KMeans(n, n_init=4, random_state=seed % 2**32).fit_predict(descriptors)
    return np.asarray(found, np.int64)

"""`Regions` against the default segmenter, and against the same steps as a user of scipy and scikit-image writes them.

By count: the default, `PPEPSWGM`, evaluates 3 starts x 5 components in up to 100 E-steps each, on the half of the
pixels with effect. `Regions` starts once, from 8 components, and goes down two below the number that it keeps; where
images have 128 pixels of side and more, on blocks of pixels: a quarter of them at 128, a ninth at 224. What comes on
top are some 60 passes over all pixels and one sort, which the default does not pay for, and which is most of the time
there.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from benchmarks.compare import Compare
from benchmarks.inputs import attribution_maps
from lvlm_va.segmentation import PPEPSWGM, Regions, Segmentation

SIDE, N, N_PEER = 64, 64, 8


@cache
def maps(n: int, side: int) -> Tensor:
    return attribution_maps(n, side)


def test_regions_28(compare: Compare) -> None:
    against_the_default(compare, 28)


def test_regions_64(compare: Compare) -> None:
    against_the_default(compare, 64)


def test_regions_128(compare: Compare) -> None:
    against_the_default(compare, 128)


def test_regions_224(compare: Compare) -> None:
    against_the_default(compare, 224)


def against_the_default(compare: Compare, side: int) -> None:
    attributions = maps(max(8, 2**18 // side**2), side)

    def ours() -> Segmentation:
        return Regions().segment(attributions, attributions, 0)

    found = ours()
    assert (found.n_segments > 0).all()
    compare(
        ours,
        lambda: PPEPSWGM().segment(attributions, attributions, 0),
        note=f"effect outside the regions: {float(found.outside.mean()):.2f}",
    )


def test_regions_scipy(compare: Compare) -> None:
    """The peer draws starts for every number of components; its regions must hold the same effect."""
    measure = pytest.importorskip("skimage.measure")
    attributions = maps(N, SIDE)

    def ours() -> Segmentation:
        return Regions().segment(attributions, attributions, 0)

    def peer() -> list[np.ndarray]:
        return [regions_by_scipy(one[0].double().numpy(), measure.label) for one in attributions[:N_PEER]]

    found = ours()
    overlaps = []
    for labels, theirs in zip(found.labels[:N_PEER].numpy() > 0, peer(), strict=True):
        overlaps.append((labels & (theirs > 0)).sum() / (labels | (theirs > 0)).sum())
    assert np.mean(overlaps) >= 0.8
    compare(
        ours,
        peer,
        rounds=3,
        peer_scale=N / N_PEER,
        note=f"the peer goes map by map; timed on {N_PEER} of {N} maps, times {N // N_PEER}; of the pixels in regions "
        f"of either, {np.mean(overlaps):.2f} are in regions of both: it may find other numbers of components",
    )


def regions_by_scipy(total: np.ndarray, label: object) -> np.ndarray:
    """Return the labels (H, W) of one map: scipy's smoothing and shapes, `PPEPSWGM` with BIC, scikit-image's pieces."""
    sigma = min(total.shape) / 64
    effect = ndimage.gaussian_filter(total, sigma, truncate=3.0).clip(0)
    effect /= effect.sum()
    density = ndimage.gaussian_filter(effect, sigma, truncate=3.0)
    weights = torch.from_numpy(effect)[None, None]
    mixture = PPEPSWGM(n_segments="bic", min_share=0.0).segment(weights, weights, 0)
    owner, pieces = mixture.labels[0].numpy(), []
    for component in range(1, int(mixture.n_segments[0]) + 1):
        inside = owner == component
        order = np.argsort(-density[inside])
        held = effect[inside][order].cumsum()
        least = density[inside][order][np.searchsorted(held, 0.8 * held[-1])]
        region = ndimage.binary_closing(np.pad(inside & (density >= least), 2), np.ones((3, 3)))[2:-2, 2:-2]
        region = ndimage.binary_opening(region, np.ones((2, 2)))
        numbered = label(region, connectivity=1)  # type: ignore[operator]
        pieces += [numbered == number for number in range(1, numbered.max() + 1)]
    strong = sorted(
        (piece for piece in pieces if effect[piece].sum() >= 0.03), key=lambda piece: -effect[piece].sum()
    )
    result = np.zeros(total.shape, np.int64)
    for number, piece in enumerate(strong[:8], start=1):
        result[piece & (result == 0)] = number
    return result

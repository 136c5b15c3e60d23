"""The weighted EM against pomegranate and against our own plain-torch oracle: 64 maps of 224x224, J = 5, 50 updates."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from benchmarks import pomegranate_peer
from benchmarks.compare import Compare
from benchmarks.inputs import attribution_maps
from lvlm_va.ops import EMResult, ppeps_em
from lvlm_va.ops.reference import ppeps_em as reference
from lvlm_va.segmentation import positive_effect
from tests.tolerances import OP

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

N, SIDE, J, UPDATES = 64, 224, 5, 50
# Image-by-image peers are timed on the first few maps: their time is proportional to the number.
N_PEER = 4

# How far below the peer's a likelihood may lie, per unit of weight: even in float64 pomegranate sums weights
# in float32, and the updates enlarge what that moves.
DROP = 1e-4


@cache
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights (float32) and a start: J centres drawn uniformly, round covariances, equal shares."""
    weights = positive_effect(attribution_maps(N, SIDE)).float()
    draw = torch.Generator().manual_seed(0)
    means = torch.rand(N, J, 2, generator=draw, dtype=torch.float64)
    covariances = 0.02 * torch.eye(2, dtype=torch.float64).expand(N, J, 2, 2)
    return weights, means, covariances.clone(), torch.full((N, J), 1 / J, dtype=torch.float64)


def ours() -> EMResult:
    return ppeps_em(*inputs(), max_iter=UPDATES, tol=0.0)


def test_ppeps_pomegranate(compare: Compare) -> None:
    """EM has not converged after 50 updates, and until then rounding grows: so likelihoods are asserted against
    pomegranate in float64, and its float32 (which is faster, and what it computes in by itself) is timed.
    """
    pytest.importorskip("pomegranate")
    weights, *start = inputs()
    maps = [pomegranate_peer.support(weights[i]) for i in range(N_PEER)]

    def peer(dtype: torch.dtype) -> list[pomegranate_peer.Mixture]:
        starts = zip(*(part[:N_PEER] for part in start), strict=True)
        return [
            pomegranate_peer.fit(*part, begin, dtype, updates=UPDATES)
            for part, begin in zip(maps, starts, strict=True)
        ]

    fit = ours()
    gains = {dtype: gains_over(peer(dtype), fit, maps) for dtype in (torch.float32, torch.float64)}
    assert min(gains[torch.float64]) >= -DROP, f"log-likelihoods above pomegranate's: {gains}"
    compare(
        ours,
        lambda: peer(torch.float32),
        rounds=3,
        peer_scale=N / N_PEER,
        note=f"pomegranate fits map by map; timed on {N_PEER} of {N} maps, times {N // N_PEER}; it gets the pixels of "
        "positive weight alone; our log-likelihood minus its, per unit of weight: "
        + ", ".join(f"{min(part):.1e} to {max(part):.1e} ({dtype})" for dtype, part in gains.items()),
    )


def gains_over(
    mixtures: list[pomegranate_peer.Mixture], fit: EMResult, maps: list[tuple[Tensor, Tensor]]
) -> list[float]:
    """Return our weighted log-likelihood minus the peer's, map by map, both computed in float64."""
    return [
        pomegranate_peer.log_likelihood(*part, (fit.means[i], fit.covariances[i], fit.shares[i]))
        - pomegranate_peer.log_likelihood(*part, mixture)
        for i, (part, mixture) in enumerate(zip(maps, mixtures, strict=True))
    ]


def test_ppeps_oracle(compare: Compare) -> None:
    few = [part[:N_PEER] for part in inputs()]
    options = (1 / (12 * SIDE**2), 1 / (12 * SIDE**2), UPDATES, 0.0)
    fit, truth = ours(), EMResult(*reference.ppeps_em(*few, *options))
    for name in ("means", "covariances", "shares", "log_likelihood"):
        rtol, atol = OP[torch.float64]
        torch.testing.assert_close(getattr(fit, name)[:N_PEER], getattr(truth, name), rtol=rtol, atol=atol)
    compare(
        ours,
        lambda: reference.ppeps_em(*few, *options),
        rounds=3,
        peer_scale=N / N_PEER,
        note=f"the oracle goes map by map; timed on {N_PEER} of {N} maps, times {N // N_PEER}",
    )

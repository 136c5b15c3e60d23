"""Whole workloads that need a GPU: a thousand mixtures in one call, and DeepLIFT SHAP of ResNet-50.

Before any run: `ppeps_em` evaluates 1,000 maps x 30,000 pixels x 5 components x 51 E-steps = 8e9 Gaussians of about
50 operations in float32 or float64; at a third of an H100's 60 TFLOP/s in float32 that is 20 ms.
DeepLIFT SHAP needs 16 + 20 forwards and 320 input-backwards.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks import nets
from benchmarks.bench_attribution import assert_equal, attribute, captum_attribute, frozen
from benchmarks.compare import Compare
from benchmarks.inputs import attribution_maps, smooth_images
from lvlm_va.ops import ppeps_em
from lvlm_va.ops.reference import ppeps_em as reference
from lvlm_va.segmentation import positive_effect
from tests.tolerances import OP

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.filterwarnings("ignore"),
]


def test_gpu_ppeps_em_1000(compare: Compare) -> None:
    n, n_peer, side, j, updates = 1000, 4, 224, 5, 50
    weights = positive_effect(attribution_maps(50, side)).float().repeat(n // 50, 1, 1).cuda()
    draw = torch.Generator().manual_seed(0)
    means = torch.rand(n, j, 2, generator=draw, dtype=torch.float64).cuda()
    covariances = 0.02 * torch.eye(2, dtype=torch.float64).expand(n, j, 2, 2).clone().cuda()
    inputs = (weights, means, covariances, torch.full((n, j), 1 / j, dtype=torch.float64).cuda())
    few = [part[:n_peer] for part in inputs]
    floor = 1 / (12 * side**2)
    fit = ppeps_em(*inputs, max_iter=updates, tol=0.0)
    truth = reference.ppeps_em(*few, floor, floor, updates, 0.0)
    rtol, atol = OP[torch.float64]
    for result, expected in zip(fit[:4], truth[:4], strict=True):
        torch.testing.assert_close(result[:n_peer], expected, rtol=rtol, atol=atol)
    compare(
        lambda: ppeps_em(*inputs, max_iter=updates, tol=0.0),
        lambda: reference.ppeps_em(*few, floor, floor, updates, 0.0),
        rounds=5,
        peer_scale=n / n_peer,
        device="cuda",
        note=f"peer: our oracle on the same card, map by map, timed on {n_peer} of {n} maps",
    )


def test_gpu_deeplift_resnet50_captum(compare: Compare) -> None:
    """Captum would need some 500 GB for all 320 pairs at once; one image with its 20 pairs fits the card."""
    pytest.importorskip("captum")
    net = frozen(nets.resnet50()).cuda()
    images, references = smooth_images(16, 3, 224).cuda(), smooth_images(20, 3, 224, seed=1).cuda()
    target = torch.arange(16).cuda() % nets.N_CLASSES

    def peer() -> torch.Tensor:
        rows = [slice(i, i + 1) for i in range(len(images))]
        return torch.cat([captum_attribute(net, images[row], target[row], references) for row in rows])

    assert_equal(attribute(net, images, target, references), peer())
    compare(
        lambda: attribute(net, images, target, references),
        peer,
        rounds=5,
        device="cuda",
        note="captum image by image, because all pairs at once do not fit the card",
    )

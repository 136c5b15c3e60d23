"""What moves between the CPU and the device on which a classifier is."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.attribution import Explanation
from lvlm_va.rounds.explaining import Explaining
from lvlm_va.segmentation import PPEPSWGM, Regions, Segmenter
from tests.elsewhere import AWAY, elsewhere


class Scaled(nn.Module):
    """A linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))


class ByItsWeights:
    """Explains such a classifier."""

    def explain(self, module: Scaled, images: Tensor, target: Tensor) -> Explanation:
        found = images * module.scale
        nothing = found.new_zeros(len(found)).double()
        return Explanation(found, target.to(images.device), nothing, nothing, nothing, "by its weights")


def values(part: Any) -> int:
    return sum(value.numel() for one in fields(part) if isinstance(value := getattr(part, one.name), Tensor))


@pytest.mark.parametrize("segmenter", [Regions(), PPEPSWGM(3)], ids=lambda segmenter: segmenter.name)
def test_nothing_goes_to_the_cpu_and_back(segmenter: Segmenter) -> None:
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    data = SimpleNamespace(images=images, rows_of=lambda cases: cases, outcomes_of=torch.zeros_like)
    options, module, cases = (
        SimpleNamespace(explainer=ByItsWeights(), segmenter=segmenter), Scaled(), torch.tensor([4, 0, 3]),
    )  # fmt: skip

    def explaining() -> Explaining:
        return Explaining(module, data, options, 0)

    here = explaining().explain(cases)
    expected = explaining().segment(cases, here.attributions)
    assert expected.n_segments.min() > 1
    with elsewhere() as moved:
        module.scale = module.scale.to(AWAY)
        away, sent = explaining(), moved.sent
        explanation = away.explain(cases)
        assert moved.sent - sent == 3 * 32 * 32 + 3  # images and targets
        assert moved.fetched == values(explanation)
        sent, fetched = moved.sent, moved.fetched
        segmentation = away.segment(cases, explanation.attributions)
        assert moved.sent - sent < 10  # sizes of pixels
        assert moved.fetched - fetched == values(segmentation)
        # What an earlier run kept has to go there first.
        again = explaining().segment(cases, explanation.attributions)
    for found in (segmentation, again):
        assert torch.equal(found.labels, expected.labels)
        torch.testing.assert_close(found.shares, expected.shares)
    assert torch.equal(explanation.attributions, here.attributions)

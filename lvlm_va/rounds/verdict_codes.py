"""Verdicts as numbers, in the order of the segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvlm_va.critique import Critique, VerdictTable
from lvlm_va.segmentation import Segmentation

_VALUES = {"spurious": 1.0, "relevant": 0.0, "unsure": math.nan}


@dataclass(frozen=True, eq=False)
class VerdictCodes:
    """Verdicts on the segments of some images.

    Attributes
    ----------
    values : Tensor of shape (a, J), float64
        1 spurious, 0 relevant, NaN unsure or without a verdict, and past an image's number of segments.
    human : Tensor of shape (a, J), bool
        Whether the verdict is a person's.
    """

    values: Tensor
    human: Tensor

    @classmethod
    def of(
        cls, segmentation: Segmentation, critiques: Sequence[Critique], verdicts: VerdictTable | None = None
    ) -> VerdictCodes:
        """Return the verdicts that a table, or else the critiques themselves, hold on these images' segments."""
        if verdicts is None:
            verdicts = VerdictTable(tuple(v for critique in critiques for v in critique.verdicts))
        values = torch.full(segmentation.shares.shape, math.nan, dtype=torch.float64)
        human = torch.zeros(values.shape, dtype=torch.bool)
        for i, critique in enumerate(critiques):
            for j in range(int(segmentation.n_segments[i])):
                verdict = verdicts.get(critique.image_id, j + 1)
                if verdict is not None:
                    values[i, j] = _VALUES[verdict.verdict]
                    human[i, j] = verdict.source == "human"
        return cls(values, human)

    @property
    def spurious(self) -> Tensor:
        """Bool tensor of shape (a, J): True where a segment was judged spurious."""
        return self.values == 1

    @property
    def decided(self) -> Tensor:
        """Bool tensor of shape (a, J): True where a segment was judged spurious or relevant."""
        return ~self.values.isnan()

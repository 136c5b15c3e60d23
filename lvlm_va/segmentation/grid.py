"""Segments by a fixed grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lvlm_va.common.effect import Effect
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.segmentation.cells import segment_in_chunks, segmentation_of_cells
from lvlm_va.segmentation.effect import check_effect
from lvlm_va.segmentation.types import Segmentation


@dataclass(frozen=True)
class Grid:
    """Equal cells of a grid, to compare with.

    A cell that holds at least `min_share` of the effect is a segment. Its labelled pixels are those
    with effect; the others, and those of weaker cells, belong to no segment.

    Parameters
    ----------
    n_rows : int, default=4
        Number of bands from top to bottom.
    n_columns : int, default=4
        Number of bands from left to right.
    min_share : float, default=0.02
        Least share of the effect of a segment, in [0, 1).
    effect : {"positive", "absolute"}, default="positive"
        Which effect of a pixel counts: what it adds to the explained logit, or how much it changes it either way.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of its range.
    """

    n_rows: int = 4
    n_columns: int = 4
    min_share: float = 0.02
    effect: Effect = "positive"

    name: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        check_integer("n_rows", self.n_rows, 1)
        check_integer("n_columns", self.n_columns, 1)
        check_real("min_share", self.min_share, "[0, 1)")
        check_effect(self.effect)

    def segment(self, attributions: Tensor, images: Tensor, seed: int) -> Segmentation:
        """Cut each attribution map along the grid.

        Parameters
        ----------
        attributions : Tensor of shape (n, C, H, W)
            Finite attributions of one logit per image.
        images : Tensor of shape (n, C, H, W)
            Not looked at.
        seed : int
            Without effect: nothing is random.

        Returns
        -------
        Segmentation
            ``n_rows * n_columns`` columns. Shares are those of the cells, so they sum to 1 less what the weak
            cells hold.

        Raises
        ------
        TypeError
            If the attributions are no floating tensor.
        ValueError
            If the attributions have another shape or are not finite.
        """
        n_cells = self.n_rows * self.n_columns

        def segment(effect: Tensor, rows: slice) -> Segmentation:
            _, height, width = effect.shape
            band = torch.arange(height, device=effect.device) * self.n_rows // height
            column_band = torch.arange(width, device=effect.device) * self.n_columns // width
            cells = band[:, None] * self.n_columns + column_band + 1
            return segmentation_of_cells(effect, cells.expand(effect.shape), n_cells, self.min_share)

        return segment_in_chunks(segment, attributions, self.effect, n_cells)

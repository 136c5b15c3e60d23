"""Images with their masks as a Dataset, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvlm_va.data.stored_images import ImageRows


class MarkedImages(Dataset[tuple[Any, ...]]):
    """Training images, some of them with marked pixels: items are (image, label, mask), or with `findings` one more.

    Parameters
    ----------
    images : Tensor or StoredImages of shape (n, C, *spatial)
        Images in [0, 1].
    labels : Tensor of shape (n,), or (n, K) for K findings, int64
        Class numbers; 1 where a finding is present, else 0.
    masked : Tensor of shape (m,), int64
        Rows of `images` that have a mask.
    masks : Tensor of shape (m, *spatial), floating or bool
        1 where a pixel must not matter. All other images have an empty mask.
    rows : Tensor of shape (r,), int64, default=None
        Which of the images there are; None takes all.
    findings : Tensor of shape (m,), int64, default=None
        Where several findings are told of each image: which each mask is about. Items are then (image, labels, mask,
        finding), and an image with marks about several findings is an item for each; without a mark it says 0.

    Attributes
    ----------
    rows : Tensor of shape (r,), int64
        Number of each item among the images.
    marked : Tensor of shape (r,), bool
        Which items have a marked pixel.
    """

    def __init__(
        self,
        images: ImageRows,
        labels: Tensor,
        masked: Tensor,
        masks: Tensor,
        rows: Tensor | None = None,
        findings: Tensor | None = None,
    ) -> None:
        shown = torch.arange(len(labels)) if rows is None else rows
        self._images, self._labels, self._masks, self._findings = images, labels, masks, findings
        filled = masks.flatten(1).any(1)
        # Where the mask of an item is; -1 where it is empty.
        if findings is None:
            places = torch.full((len(labels),), -1)
            places[masked] = torch.arange(len(masked)).where(filled, -1)
            self.rows, self._places = shown, places[shown]
        else:
            kept = (filled & torch.isin(masked, shown)).nonzero().flatten()
            bare = shown[~torch.isin(shown, masked[kept])]
            items, places = torch.cat([bare, masked[kept]]), torch.cat([torch.full_like(bare, -1), kept])
            order = items.argsort(stable=True)
            self.rows, self._places = items[order], places[order]
        self.marked = self._places >= 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        rows, places = self.rows[list(indices)], self._places[list(indices)]
        masks = self._masks[places.clamp(min=0)]
        masks[places < 0] = 0
        labels = self._labels[rows]
        if self._findings is None:
            return list(zip(self._images[rows], labels.tolist(), masks, strict=True))
        findings = self._findings[places.clamp(min=0)].where(places >= 0, 0)
        return list(zip(self._images[rows], labels, masks, findings.tolist(), strict=True))

"""Images with their masks as a Dataset, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvlm_va.data.stored_images import ImageRows


class MarkedImages(Dataset[tuple[Tensor, int, Tensor]]):
    """Training images, some of them with marked pixels: items are (image, label, mask).

    Parameters
    ----------
    images : Tensor or StoredImages of shape (n, C, *spatial)
        Images in [0, 1].
    labels : Tensor of shape (n,), int64
        Class numbers.
    masked : Tensor of shape (m,), int64
        Rows of `images` that have a mask.
    masks : Tensor of shape (m, *spatial), floating or bool
        1 where a pixel must not matter. All other images have an empty mask.
    rows : Tensor of shape (r,), int64, default=None
        Which of the images there are; None takes all.

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
    ) -> None:
        self.rows = torch.arange(len(labels)) if rows is None else rows
        self._images, self._labels, self._masks = images, labels, masks
        # Where the mask of an image is; -1 where it is empty.
        self._places = torch.full((len(labels),), -1)
        self._places[masked] = torch.arange(len(masked)).where(masks.flatten(1).any(1), -1)
        self.marked = self._places[self.rows] >= 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int, Tensor]]:
        rows = self.rows[list(indices)]
        places = self._places[rows]
        masks = self._masks[places.clamp(min=0)]
        masks[places < 0] = 0
        return list(zip(self._images[rows], self._labels[rows].tolist(), masks, strict=True))

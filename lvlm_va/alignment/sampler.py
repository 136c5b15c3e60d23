"""Batches with a fixed share of marked rows, for training loops of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler

from lvlm_va.alignment.marked_images import MarkedImages
from lvlm_va.alignment.mixing import fill_places, split_batch
from lvlm_va.common.randomness import derive_seed
from lvlm_va.common.validation import check_integer, check_real


class MarkedBatchSampler(BatchSampler):
    """Mixes marked images into every batch, as the estimator does: oversampled, at a fixed share.

    At their natural share a few hundred marked images are lost among the others. An epoch shows each image without a
    marked pixel once, but for a few that fill up the last batch, and marked ones as often as fills their places,
    equally often, give or take once. With ``fraction=1``, or where all are marked, it is a pass over the marked ones
    alone.

    Batches are those of seed and epoch alone. Each pass is the next epoch; ``set_epoch``, which transformers' Trainer
    and Lightning call, chooses one: so a loop resumes at the epoch where it was, past the batches that are done.

    Parameters
    ----------
    marked : Tensor of shape (n,), bool, Tensor of shape (n, *spatial), or MarkedImages
        Which images of the Dataset are marked; or the masks of all, of which those that are not empty are.
    batch_size : int
        Rows in every batch, the last one included.
    fraction : float in (0, 1], default=0.5
        Share of marked rows in each batch, rounded to whole rows but never to none of either kind.
    seed : int, default=0
        Of the order.

    Attributes
    ----------
    epoch : int
        The epoch that the next pass is.
    batch_size, drop_last : int, bool
        As in torch's own; no batch is smaller.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or no image is marked.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.alignment import MarkedBatchSampler
    >>> sampler = MarkedBatchSampler(torch.arange(10) < 2, batch_size=4)
    >>> [sum(row < 2 for row in batch) for batch in sampler]
    [2, 2, 2, 2]
    """

    def __init__(
        self, marked: Tensor | MarkedImages, batch_size: int, fraction: float = 0.5, seed: int = 0
    ) -> None:
        found = getattr(marked, "marked", marked)
        if not isinstance(found, Tensor) or not found.ndim or (found.ndim == 1 and found.dtype != torch.bool):
            kind = (
                f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(marked)
            )
            raise TypeError(
                "The 'marked' argument must be a bool tensor of shape (n,), masks of shape (n, *spatial), or a Dataset "
                f"with such a tensor as its attribute 'marked'. Got {kind} instead."
            )
        check_integer("batch_size", batch_size, 1)
        check_real("fraction", fraction, "(0, 1]")
        check_integer("seed", seed, 0)
        of_rows = found.detach().cpu().flatten(1).any(1) if found.ndim > 1 else found.cpu()
        self._marked, self._others = of_rows.nonzero().flatten(), (~of_rows).nonzero().flatten()
        if not len(self._marked):
            raise ValueError(
                f"The 'marked' argument must mark at least one image. Got none among {len(of_rows)}: there is nothing "
                "to mend by."
            )
        self._sizes = split_batch(int(batch_size), float(fraction) if len(self._others) else 1.0)
        self.batch_size, self.drop_last, self.epoch, self._seed = int(batch_size), False, 0, int(seed)
        self.sampler: Any = self  # where trainers look for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of an epoch, numbered from 0."""
        check_integer("epoch", epoch, 0)
        self.epoch = int(epoch)

    def __len__(self) -> int:
        n_marked, n_others = self._sizes
        return math.ceil(len(self._others) / n_others if n_others else len(self._marked) / n_marked)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        generator = torch.Generator().manual_seed(derive_seed(self._seed, epoch + 1))
        marked, others = (
            rows[fill_places(len(rows), size * len(self), generator)].view(len(self), size)
            for rows, size in zip((self._marked, self._others), self._sizes, strict=True)
        )
        yield from torch.cat([others, marked], 1).tolist()

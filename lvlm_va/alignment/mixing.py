"""Which rows make up each batch of an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one batch.

    Attributes
    ----------
    plain : Tensor of shape (p,), int64
        Rows of the training images.
    unmarked : Tensor of shape (u,), int64
        Rows of the alignment set whose mask is empty: they need no second backward.
    marked : Tensor of shape (m,), int64
        Rows of the alignment set whose mask is not.
    whole : Batch or None
        The batch that this is a part of; None where it is whole itself.
    """

    plain: Tensor
    unmarked: Tensor
    marked: Tensor
    whole: Batch | None = None

    @property
    def n_rows(self) -> int:
        """Rows of all three kinds."""
        return len(self.plain) + self.n_aligned

    @property
    def n_aligned(self) -> int:
        """Rows of the alignment set."""
        return len(self.unmarked) + len(self.marked)

    def split(self, n_parts: int) -> list[Batch]:
        """Return so many parts, which hold about as many rows of each kind, in order; some may have none."""
        # The first parts get the rows left over; those of the marked rows, which cost most, go to the last.
        n_marked = len(self.marked)
        sizes = [(n_marked + part) // n_parts for part in range(n_parts)]
        plain, unmarked = self.plain.tensor_split(n_parts), self.unmarked.tensor_split(n_parts)
        whole = self.whole or self
        return [Batch(*rows, whole) for rows in zip(plain, unmarked, self.marked.split(sizes), strict=True)]


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """How many rows of which kind each batch of an epoch holds; made by `plan_batches`.

    Attributes
    ----------
    rows : Tensor of shape (r,), int64, on the CPU
        Rows of the training images that make up an epoch, each as often as it comes.
    marked : Tensor of shape (a,), bool, on the CPU
        Which alignment images have a mask that is not empty; none of either in plain training.
    plain_sizes, alignment_sizes : tuple of int
        Rows of either kind in each batch.
    """

    rows: Tensor
    marked: Tensor
    plain_sizes: tuple[int, ...]
    alignment_sizes: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(self.plain_sizes)

    @property
    def expected_marked_steps(self) -> float:
        """Batches of an epoch with marked rows to expect."""
        n_unmarked = len(self.marked) - int(self.marked.sum())
        unmarked = n_unmarked / max(1, len(self.marked))
        return sum(1 - unmarked**size for size in self.alignment_sizes)

    def epoch(self, seed: int, plain_device: torch.device, alignment_device: torch.device) -> list[Batch]:
        """Return the batches of one epoch.

        The training images are shuffled. The alignment set is permuted as often as needed to fill its places,
        so that within an epoch its images come equally often, give or take one.

        Parameters
        ----------
        seed : int
            Of this epoch; equal seeds give equal batches.
        plain_device, alignment_device : torch.device
            Where the indices are put: with the images they select.
        """
        generator = torch.Generator().manual_seed(seed)
        order = self.rows[torch.randperm(len(self.rows), generator=generator)[: sum(self.plain_sizes)]]
        places = sum(self.alignment_sizes)
        aligned = fill_places(len(self.marked), places, generator).split(self.alignment_sizes)
        plain = _move(order.split(self.plain_sizes), plain_device)
        unmarked = _move([rows[~self.marked[rows]] for rows in aligned], alignment_device)
        marked = _move([rows[self.marked[rows]] for rows in aligned], alignment_device)
        return [Batch(*rows) for rows in zip(plain, unmarked, marked, strict=True)]


def fill_places(n: int, places: int, generator: torch.Generator) -> Tensor:
    """Return so many of n rows in random order: all equally often, give or take once."""
    stream = [torch.randperm(n, generator=generator) for _ in range(math.ceil(places / max(1, n)))]
    return torch.cat([*stream, torch.empty(0, dtype=torch.int64)])[:places]


def split_batch(batch_size: int, fraction: float) -> tuple[int, int]:
    """Return how many rows of a batch are alignment rows, and how many are not: some of either, but for fraction 1.

    Raises
    ------
    ValueError
        If a batch of one row is to hold rows of both kinds.
    """
    if fraction == 1:
        return batch_size, 0
    if batch_size < 2:
        raise ValueError(
            "The 'batch_size' argument must be at least 2 to mix plain and alignment rows. "
            f"Got {batch_size!r} instead; raise it or take alignment rows alone, at a fraction of 1."
        )
    n_aligned = min(max(round(batch_size * fraction), 1), batch_size - 1)
    return n_aligned, batch_size - n_aligned


def plan_batches(
    n_plain: int, marked: Tensor, batch_size: int, align_fraction: float, repeats: Tensor | None = None
) -> BatchPlan:
    """Cut the training images into batches of nearly equal size and add alignment rows to each.

    Parameters
    ----------
    n_plain : int
        Number of training images.
    marked : Tensor of shape (a,), bool
        Which alignment images have a mask that is not empty; a = 0 in plain training.
    batch_size : int
        Rows per batch.
    align_fraction : float in (0, 1]
        Share of alignment rows in each batch, rounded to whole rows but never to none of either kind. With 1
        an epoch is a pass over the alignment set alone.
    repeats : Tensor of shape (n_plain,), int64, optional
        How often each training image comes in an epoch; None shows each once.

    Raises
    ------
    ValueError
        If a batch of one row is to hold rows of both kinds.
    """
    marked, batch_size = marked.cpu(), int(batch_size)
    rows = torch.arange(n_plain)
    if repeats is not None:
        rows = rows.repeat_interleave(repeats.cpu())
    if not len(marked):
        sizes = _even_sizes(len(rows), batch_size)
        return BatchPlan(rows, marked, sizes, (0,) * len(sizes))
    if align_fraction == 1:
        sizes = _even_sizes(len(marked), batch_size)
        return BatchPlan(rows, marked, (0,) * len(sizes), sizes)
    n_aligned, n_rest = split_batch(batch_size, align_fraction)
    plain_sizes = _even_sizes(len(rows), n_rest)
    alignment_sizes = tuple(max(1, round(size * n_aligned / n_rest)) for size in plain_sizes)
    return BatchPlan(rows, marked, plain_sizes, alignment_sizes)


def _even_sizes(n: int, largest: int) -> tuple[int, ...]:
    # Nearly equal sizes: no small, noisy last batch. A batch of one row, on which batch normalisation
    # fails in training mode, only comes when it was asked for; a single row left over joins another batch.
    steps = math.ceil(n / largest)
    if largest > 1:
        steps = max(1, min(steps, n // 2))
    return tuple(n // steps + (step < n % steps) for step in range(steps))


def _move(parts: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    # One copy per epoch instead of one per batch, each of which would wait for the device.
    moved: Sequence[Tensor] = torch.cat(list(parts)).to(device).split([len(part) for part in parts])
    return moved

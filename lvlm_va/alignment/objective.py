"""The loss of one batch: cross-entropy, and the penalty of the rows that have a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvlm_va.alignment.augmentation import Augment, augmented
from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.penalty import input_gradient
from lvlm_va.alignment.strength import Strength
from lvlm_va.alignment.types import AlignmentSet
from lvlm_va.alignment.weighting import Weighting, weighted_loss
from lvlm_va.data.stored_images import ImageReader, ImageRows, StoredImages
from lvlm_va.modules.heads import row_losses, share_correct
from lvlm_va.modules.logits import forward_logits
from lvlm_va.ops import masked_gradient_penalty


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """All rows of a run, wherever the user keeps them, and where to compute.

    Attributes
    ----------
    images : Tensor or StoredImages of shape (n, C, *spatial)
        Training images.
    labels : Tensor of shape (n,) or (n, K), int64
        Their classes, or which of K findings are present.
    alignment : AlignmentSet or None
        None in plain training.
    device : torch.device
        The module's device, to which each batch is moved.
    dtype : torch.dtype
        The module's floating type.
    weights : Tensor of shape (n,), floating, or None
        How much each training image counts; those of the alignment set have their own. None for all alike.
    augment : callable or None
        Changes the images of a batch and their masks; see `resolve_augment`.
    """

    images: ImageRows
    labels: Tensor
    alignment: AlignmentSet | None
    device: torch.device
    dtype: torch.dtype
    weights: Tensor | None = None
    augment: Augment | None = None

    def select_weights(self, batch: Batch) -> Tensor | None:
        """Return how much each row of the batch counts, in the order of `select`; None for all alike."""
        if self.weights is None:
            return None
        parts = [(self.weights, batch.plain)]
        if self.alignment is not None and self.alignment.weights is not None:
            parts += [(self.alignment.weights, rows) for rows in (batch.unmarked, batch.marked)]
        return self._gather([part for part in parts if len(part[1])], self.dtype)

    def select(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return images and labels of all rows of the batch, the marked ones last."""
        labels = [(self.labels, batch.plain)]
        if self.alignment is not None:
            labels += [(self.alignment.labels, rows) for rows in (batch.unmarked, batch.marked)]
        images = self._gather(self._image_parts(batch), self.dtype)
        return images, self._gather([part for part in labels if len(part[1])], torch.int64)

    def select_masks(self, batch: Batch) -> Tensor | None:
        """Return the masks of the batch's marked rows, or None where it has none."""
        if self.alignment is None or not len(batch.marked):
            return None
        return self._gather([(self.alignment.masks, batch.marked)], self.dtype)

    def select_findings(self, batch: Batch) -> Tensor | None:
        """Return which findings the masks of the batch's marked rows are about; None for classes, or without masks."""
        if self.alignment is None or self.alignment.findings is None or not len(batch.marked):
            return None
        return self._gather([(self.alignment.findings, batch.marked)], torch.int64)

    @contextmanager
    def reading_ahead(self, batches: Sequence[Batch]) -> Iterator[None]:
        """Read the images of these batches, in this order, ahead of their use, where they are not in memory."""
        reads: dict[ImageReader, list[Tensor]] = {}
        for images, rows in chain.from_iterable(map(self._image_parts, batches)):
            if isinstance(images, StoredImages):
                reads.setdefault(images.reader, []).append(images.rows[rows])
        with ExitStack() as stack:
            for reader, parts in reads.items():
                stack.enter_context(reader.reading_ahead(parts, pinned=self.device.type == "cuda"))
            yield

    def _image_parts(self, batch: Batch) -> list[tuple[ImageRows, Tensor]]:
        """Return which images make up the batch, in the order in which they are selected."""
        parts = [(self.images, batch.plain)]
        if self.alignment is not None:
            parts += [(self.alignment.images, rows) for rows in (batch.unmarked, batch.marked)]
        return [part for part in parts if len(part[1])]

    def _gather(self, parts: Sequence[tuple[ImageRows, Tensor]], dtype: torch.dtype) -> Tensor:
        # index_select copies whole rows; indexing with [] goes value by value, at a fifth of the speed.
        here = [
            (values, rows)
            for values, rows in parts
            if isinstance(values, Tensor) and values.device == self.device and values.dtype == dtype
        ]
        if len(here) == len(parts):
            sizes = [len(rows) for _, rows in here]
            first = here[0][0]
            gathered = first.new_empty(sum(sizes), *first.shape[1:])
            for (values, rows), out in zip(here, gathered.split(sizes), strict=True):
                torch.index_select(values, 0, rows, out=out)
            return gathered
        moved = [
            values.read(rows, self.device, dtype)
            if isinstance(values, StoredImages)
            else values.index_select(0, rows).to(self.device, dtype, non_blocking=True)
            for values, rows in parts
        ]
        return moved[0] if len(moved) == 1 else torch.cat(moved)


@dataclass(frozen=True, eq=False)
class Forwarded:
    """What a module makes of the rows of a batch.

    Attributes
    ----------
    logits : Tensor of shape (n, K)
        With their graph; those of marked rows last.
    labels : Tensor of shape (n,) or (n, K), int64
        The rows' classes, or which findings are present.
    gradient : Tensor of shape (m, C, *spatial)
        Input gradients of the marked rows, with their graph.
    masks : Tensor of shape (m, *spatial)
        Their masks.
    weights : Tensor of shape (n,) or None
        How much each row counts.
    """

    logits: Tensor
    labels: Tensor
    gradient: Tensor
    masks: Tensor
    weights: Tensor | None = None

    @property
    def cross_entropy(self) -> Tensor:
        """Scalar tensor: the sum over the rows, each as much as it counts."""
        each = row_losses(self.logits, self.labels)
        return (each if self.weights is None else each * self.weights).sum()

    @property
    def penalty(self) -> Tensor:
        """Scalar tensor: the sum over the marked rows."""
        if not len(self.gradient):
            return self.gradient.sum()
        return masked_gradient_penalty(self.gradient, self.masks).sum()

    @property
    def n_correct(self) -> Tensor:
        """Scalar tensor: rows that are right; of several findings, the share of these."""
        return share_correct(self.logits, self.labels).sum()


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """The loss of a batch and what it is made of; all on the module's device, none of it awaited.

    Attributes
    ----------
    loss : scalar Tensor
        ``cross_entropy_sum / n_rows + lambda * penalty_sum / n_aligned``, or what the weighting made of the rows'
        cross-entropies, with its graph. In a part of a batch both numbers are the whole batch's, so that the losses of
        its parts add up to its own.
    cross_entropy_sum, penalty_sum, n_correct : scalar Tensor
        Sums over the rows, without a graph.
    """

    loss: Tensor
    cross_entropy_sum: Tensor
    penalty_sum: Tensor
    n_correct: Tensor


def batch_loss(
    module: nn.Module,
    rows: TrainingRows,
    batch: Batch,
    strength: Strength,
    *,
    weighting: Weighting | None = None,
    bf16: bool = False,
) -> BatchLoss:
    """Return the loss of one batch, or of a part of one.

    Rows without a mask take no part in the second backward. The cross-entropy is averaged over all rows, the
    penalty over the alignment rows, of which those without a mask add 0.

    Parameters
    ----------
    module : torch.nn.Module
        Must not mix rows where the batch has rows with a mask (batch normalisation in evaluation mode).
    rows : TrainingRows
        Where the rows come from.
    batch : Batch
        Which rows.
    strength : Strength
        Gives lambda, and is told about the batch.
    weighting : Weighting, optional
        Makes the loss of the rows' cross-entropies where none has a mask; None takes their mean.
    bf16 : bool, default=False
        Forward in bfloat16 where torch's autocast does.
    """
    whole = batch.whole or batch
    forwarded = forward_batch(module, rows, batch, bf16=bf16)
    cross_entropy, penalty = forwarded.cross_entropy, forwarded.penalty
    if weighting is not None:
        loss = weighted_loss(weighting, row_losses(forwarded.logits, forwarded.labels), batch)
    else:
        loss = cross_entropy / whole.n_rows
    if len(whole.marked):
        loss = penalised(loss, penalty / whole.n_aligned, strength)
    return BatchLoss(loss, cross_entropy.detach(), penalty.detach(), forwarded.n_correct)


def penalised(loss: Tensor, penalty: Tensor, strength: Strength) -> Tensor:
    """Return ``loss + lambda * penalty`` of a batch with marked rows, or of a part of one."""
    return loss + strength.update(penalty.detach(), loss.detach()) * penalty


def forward_batch(module: nn.Module, rows: TrainingRows, batch: Batch, *, bf16: bool = False) -> Forwarded:
    """Return what the module makes of a batch, or of a part that may have no rows; parameters as of `batch_loss`."""
    if not batch.n_rows:
        no_gradient = torch.zeros(0, 1, 1, device=rows.device, dtype=rows.dtype)
        labels = torch.zeros(0, device=rows.device, dtype=torch.int64)
        return Forwarded(no_gradient[..., 0], labels, no_gradient, no_gradient[..., 0])
    images, labels = rows.select(batch)
    masks = rows.select_masks(batch)
    if rows.augment is not None:
        images, masks = augmented(rows.augment, images, masks)
    found = forward_rows(module, images, labels, masks, rows.select_findings(batch), bf16=bf16)
    return found if rows.weights is None else replace(found, weights=rows.select_weights(batch))


def forward_rows(
    module: Callable[[Tensor], object],
    images: Tensor,
    labels: Tensor,
    masks: Tensor | None,
    findings: Tensor | None = None,
    *,
    bf16: bool = False,
) -> Forwarded:
    """Return what the module makes of images of which the last ones are marked.

    Parameters
    ----------
    module : callable
        Must not mix rows where some are marked.
    images : Tensor of shape (n, C, *spatial), floating
        On the module's device and in its type; n >= 1.
    labels : Tensor of shape (n,) or (n, K), int64
        Their classes, or which findings are present.
    masks : Tensor of shape (m, *spatial), the dtype of `images`, or None
        Masks of the last m images, m >= 1; None where none is marked.
    findings : Tensor of shape (m,), int64, optional
        Which finding each mask is about; None for classes.
    bf16 : bool, default=False
        Forward in bfloat16 where torch's autocast does.
    """
    if masks is None:
        with _lowered(images.device, bf16):
            logits = forward_logits(module, images).to(images.dtype)
        no_gradient = logits.new_zeros(0, 1, 1)
        return Forwarded(logits, labels, no_gradient, no_gradient[..., 0])
    others, marked = images.split([len(images) - len(masks), len(masks)])
    marked.requires_grad_()
    # Fused attention kernels have no second derivative; the plain one does.
    with sdpa_kernel(SDPBackend.MATH):
        with _lowered(images.device, bf16):
            parts = [forward_logits(module, part).to(images.dtype) for part in (others, marked) if len(part)]
        # Outside: a backward runs in the types of its forward, and the penalty's own sums in the module's.
        return Forwarded(torch.cat(parts), labels, input_gradient(parts[-1], marked, findings), masks)


def _lowered(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()

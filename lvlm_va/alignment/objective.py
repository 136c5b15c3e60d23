"""The loss of one batch: cross-entropy, and the penalty of the rows that have a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvlm_va._logits import forward_logits
from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.penalty import input_gradient
from lvlm_va.alignment.shared_forward import forward_shared
from lvlm_va.alignment.strength import Strength
from lvlm_va.alignment.types import AlignmentSet
from lvlm_va.ops import masked_gradient_penalty


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """All rows of a run, wherever the user keeps them, and where to compute.

    Attributes
    ----------
    images : Tensor of shape (n, C, *spatial)
        Training images.
    labels : Tensor of shape (n,), int64
        Their classes.
    alignment : AlignmentSet or None
        None in plain training.
    device : torch.device
        The module's device, to which each batch is moved.
    dtype : torch.dtype
        The module's floating type.
    """

    images: Tensor
    labels: Tensor
    alignment: AlignmentSet | None
    device: torch.device
    dtype: torch.dtype

    def without_masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return images and labels of the batch's rows that need no second backward."""
        images, labels = self._move(self.images, batch.plain), self._move_labels(self.labels, batch.plain)
        if self.alignment is None or not len(batch.unmarked):
            return images, labels
        more = self._move(self.alignment.images, batch.unmarked)
        more_labels = self._move_labels(self.alignment.labels, batch.unmarked)
        return torch.cat([images, more]), torch.cat([labels, more_labels])

    def with_masks(self, alignment: AlignmentSet, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return images, labels and masks of the batch's rows that have a mask."""
        images, masks = (self._move(part, batch.marked) for part in (alignment.images, alignment.masks))
        return images, self._move_labels(alignment.labels, batch.marked), masks

    # index_select copies whole rows; indexing with [] goes value by value, at a fifth of the speed.
    def _move(self, values: Tensor, rows: Tensor) -> Tensor:
        return values.index_select(0, rows).to(self.device, self.dtype, non_blocking=True)

    def _move_labels(self, labels: Tensor, rows: Tensor) -> Tensor:
        return labels.index_select(0, rows).to(self.device, torch.int64, non_blocking=True)


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """The loss of a batch and what it is made of; all on the module's device, none of it awaited.

    Attributes
    ----------
    loss : scalar Tensor
        ``cross_entropy_sum / n_rows + lambda * penalty_sum / n_aligned``, with its graph.
    cross_entropy_sum, penalty_sum, n_correct : scalar Tensor
        Sums over the rows, without a graph.
    shared : bool
        Whether forwarding rows together, where it was asked for, paid.
    """

    loss: Tensor
    cross_entropy_sum: Tensor
    penalty_sum: Tensor
    n_correct: Tensor
    shared: bool


def batch_loss(
    module: nn.Module, rows: TrainingRows, batch: Batch, strength: Strength, *, share: bool = False
) -> BatchLoss:
    """Return the loss of one batch.

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
    share : bool, default=False
        Forward all rows together (`forward_shared`; on the CPU only) instead of those with and without a mask
        apart. Pays for convolutional nets.
    """
    n_aligned = len(batch.unmarked) + len(batch.marked)
    n_rows = len(batch.plain) + n_aligned
    if rows.alignment is None or not len(batch.marked):
        plain, labels = rows.without_masks(batch)
        logits = forward_logits(module, plain)
        cross_entropy, n_correct = _compare(logits, labels)
        return BatchLoss(
            cross_entropy / n_rows, cross_entropy.detach(), torch.zeros_like(cross_entropy), n_correct, share
        )

    marked, labels, masks = rows.with_masks(rows.alignment, batch)
    images: Tensor | None = None
    if n_rows > len(batch.marked):
        images, other_labels = rows.without_masks(batch)
        labels = torch.cat([other_labels, labels])
    # Fused attention kernels have no second derivative; the plain one does.
    with sdpa_kernel(SDPBackend.MATH):
        together = None
        if share and images is not None and rows.device.type == "cpu":
            together = forward_shared(module, torch.cat([images, marked]), len(marked))
        logits, gradient, shared = together or (*_forward_apart(module, images, marked), False)
    cross_entropy, n_correct = _compare(logits, labels)
    penalty = masked_gradient_penalty(gradient, masks).sum()
    means = (penalty / n_aligned, cross_entropy / n_rows)
    weight = strength.update(gradient.detach(), masks, *(mean.detach() for mean in means))
    loss = means[1] + weight * means[0]
    return BatchLoss(loss, cross_entropy.detach(), penalty.detach(), n_correct, shared)


def _forward_apart(module: nn.Module, images: Tensor | None, marked: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits of all rows, the marked ones last, and input gradients of the latter."""
    others = [] if images is None else [forward_logits(module, images)]
    logits = forward_logits(module, marked.requires_grad_())
    return torch.cat([*others, logits]), input_gradient(logits, marked)


def _compare(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of cross-entropies and the number of right rows."""
    return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()

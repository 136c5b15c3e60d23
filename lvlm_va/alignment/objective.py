"""The loss of one batch: cross-entropy, and the penalty of the rows that have a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvlm_va._logits import forward_logits
from lvlm_va.alignment.dense_net import Layer, dense_loss
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

    def select(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return images and labels of all rows of the batch, the marked ones last."""
        parts = [(self.images, self.labels, batch.plain)]
        if self.alignment is not None:
            aligned = self.alignment
            parts += [(aligned.images, aligned.labels, rows) for rows in (batch.unmarked, batch.marked)]
        parts = [part for part in parts if len(part[2])]
        images = self._gather([(images, rows) for images, _, rows in parts], self.dtype)
        return images, self._gather([(labels, rows) for _, labels, rows in parts], torch.int64)

    def select_masks(self, batch: Batch) -> Tensor | None:
        """Return the masks of the batch's marked rows, or None where it has none."""
        if self.alignment is None or not len(batch.marked):
            return None
        return self._gather([(self.alignment.masks, batch.marked)], self.dtype)

    def _gather(self, parts: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> Tensor:
        # index_select copies whole rows; indexing with [] goes value by value, at a fifth of the speed.
        if all(values.device == self.device and values.dtype == dtype for values, _ in parts):
            sizes = [len(rows) for _, rows in parts]
            first = parts[0][0]
            gathered = first.new_empty(sum(sizes), *first.shape[1:])
            for (values, rows), out in zip(parts, gathered.split(sizes), strict=True):
                torch.index_select(values, 0, rows, out=out)
            return gathered
        moved = [
            values.index_select(0, rows).to(self.device, dtype, non_blocking=True) for values, rows in parts
        ]
        return moved[0] if len(moved) == 1 else torch.cat(moved)


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
    module: nn.Module,
    rows: TrainingRows,
    batch: Batch,
    strength: Strength,
    *,
    share: bool = False,
    layers: Sequence[Layer] | None = None,
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
    layers : sequence of layers, optional
        The module's, where it is a chain of linear maps and rectifiers (`dense_layers`): then its derivatives are
        written out.
    """
    n_aligned = len(batch.unmarked) + len(batch.marked)
    images, labels = rows.select(batch)
    masks = rows.select_masks(batch)
    if masks is None:
        cross_entropy, n_correct = _compare(forward_logits(module, images), labels)
        none = torch.zeros_like(cross_entropy)
        return BatchLoss(cross_entropy / len(images), cross_entropy.detach(), none, n_correct, share)

    def weigh(gradient: Tensor, penalty: Tensor, cross_entropy: Tensor) -> Tensor:
        return strength.update(gradient.detach(), masks, penalty.detach(), cross_entropy.detach())

    if layers is not None:
        terms = dense_loss(layers, images, labels, masks, n_aligned, weigh)
        return BatchLoss(
            terms.loss, terms.cross_entropy_sum, terms.penalty_sum, _n_correct(terms.logits, labels), share
        )
    # Fused attention kernels have no second derivative; the plain one does.
    with sdpa_kernel(SDPBackend.MATH):
        together = None
        if share and len(images) > len(masks) and rows.device.type == "cpu":
            together = forward_shared(module, images, len(masks))
        logits, gradient, shared = together or (*_forward_apart(module, images, len(masks)), False)
    cross_entropy, n_correct = _compare(logits, labels)
    penalty = masked_gradient_penalty(gradient, masks).sum()
    means = (penalty / n_aligned, cross_entropy / len(images))
    loss = means[1] + weigh(gradient, *means) * means[0]
    return BatchLoss(loss, cross_entropy.detach(), penalty.detach(), n_correct, shared)


def _forward_apart(module: nn.Module, images: Tensor, n_marked: int) -> tuple[Tensor, Tensor]:
    """Return logits of all rows, the marked ones last, and input gradients of the latter."""
    others, marked = images.split([len(images) - n_marked, n_marked])
    before = [forward_logits(module, others)] if len(others) else []
    logits = forward_logits(module, marked.requires_grad_())
    return torch.cat([*before, logits]), input_gradient(logits, marked)


def _compare(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of cross-entropies and the number of right rows."""
    return F.cross_entropy(logits, labels, reduction="sum"), _n_correct(logits, labels)


def _n_correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).sum()

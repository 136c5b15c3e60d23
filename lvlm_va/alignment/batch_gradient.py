"""The gradient of a batch, added up over its parts: those of several processes, and those forwarded one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.objective import TrainingRows, batch_loss, forward_batch
from lvlm_va.alignment.strength import Strength
from lvlm_va.alignment.weighting import Weighting
from lvlm_va.common.distributed import add_up, rank, world_size

# Values that processes add up at a time: 32 MB in float32, large enough to use the network well.
BUCKET = 2**23


class BatchGradient:
    """Differentiates the loss of batches.

    A batch's loss is a sum over its rows once the numbers of rows it is divided by, and lambda, are known. So each
    process differentiates the share of its own rows, and the gradients are added up: the same gradient as in one
    process, up to rounding, however uneven the shares. That takes place after the backward pass instead of in hooks of
    `torch.nn.parallel.DistributedDataParallel`, which takes means of even shares, waits for ever for a process
    whose share has no rows, and only sees losses that come out of its own forward; the right-reasons term
    differentiates twice.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    rows : TrainingRows
        Where rows come from.
    strength : Strength
        Gives lambda.
    weighting : Weighting or None
        Weighs the rows.
    accumulation_steps : int
        Into how many parts each process cuts its share, so that the graph of one part fits into memory.
    bf16 : bool
        Whether to forward in bfloat16 where torch's autocast does.
    """

    def __init__(
        self,
        module: nn.Module,
        rows: TrainingRows,
        strength: Strength,
        weighting: Weighting | None,
        *,
        accumulation_steps: int,
        bf16: bool,
    ) -> None:
        self._module, self._rows, self._strength, self._weighting = module, rows, strength, weighting
        self._n_parts, self._bf16 = int(accumulation_steps), bf16
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def reading_ahead(self, batches: Sequence[Batch]) -> AbstractContextManager[None]:
        """Read the images of this process's share of these batches ahead of their use."""
        return self._rows.reading_ahead([part for batch in batches for part in self.parts(batch)])

    def parts(self, batch: Batch) -> list[Batch]:
        """Return what this process forwards of a batch, part by part."""
        mine = batch if world_size() == 1 else batch.split(world_size())[rank()]
        if self._n_parts == 1:
            return [mine]  # even without rows: lambda asks all processes
        return [part for part in mine.split(self._n_parts) if part.n_rows]

    def __call__(self, batch: Batch) -> Tensor:
        """Leave the gradient of the whole batch's loss in the parameters of every process.

        Parameters
        ----------
        batch : Batch
            A whole batch, the same in every process.

        Returns
        -------
        Tensor of shape (4,)
            What the rows of this process add to: the batch's loss times its rows, the sums of the cross-entropies and
            of the penalties, and the right rows.
        """
        for parameter in self.parameters:
            parameter.grad = None
        parts = self.parts(batch)
        if self._n_parts > 1 and len(batch.marked) and not self._strength.known:
            self._find_strength(parts, batch)
        sums = sum(map(self._differentiate, parts), self._zeros(4))
        _add_up_gradients(self.parameters)
        return sums

    def _differentiate(self, batch: Batch) -> Tensor:
        terms = batch_loss(
            self._module,
            self._rows,
            batch,
            self._strength,
            weighting=self._weighting,
            bf16=self._bf16,
        )
        if terms.loss.requires_grad:  # a share without rows leaves no graph
            # Only the parameters' gradients: the images' own would cost another pass through the first layer.
            terms.loss.backward(inputs=self.parameters)
        loss = terms.loss.detach() * (batch.whole or batch).n_rows
        return torch.stack([loss, terms.cross_entropy_sum, terms.penalty_sum, terms.n_correct.to(loss)])

    def _find_strength(self, parts: Sequence[Batch], whole: Batch) -> None:
        """Forward all parts once to find the lambda that they share."""
        terms = self._zeros(2)
        for part in parts:
            forwarded = forward_batch(self._module, self._rows, part, bf16=self._bf16)
            means = (forwarded.penalty / whole.n_aligned, forwarded.cross_entropy / whole.n_rows)
            terms += torch.stack(means).detach()
        self._strength.update(*terms)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device=self._rows.device, dtype=self._rows.dtype)


def _add_up_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Add up gradients over all processes; one that no process has stays None."""
    if world_size() == 1:
        return
    for bucket in _buckets(parameters):
        exists = [parameter.grad is not None for parameter in bucket]
        count = bucket[0].new_ones(len(bucket))
        if not all(exists):
            count *= torch.tensor(exists, device=count.device)
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in bucket
        ]
        total = add_up(torch.cat([*(gradient.flatten() for gradient in gradients), count]))
        # Reading waits for the device, so only where it matters.
        exists = exists if all(exists) else (total[-len(bucket) :] > 0).tolist()
        parts = total[: -len(bucket)].split([parameter.numel() for parameter in bucket])
        for parameter, part, there in zip(bucket, parts, exists, strict=True):
            # Laid out in memory as the parameter is, which fused optimizers count on.
            parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter)) if there else None


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield parameters of one type and device, together up to `BUCKET` values."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and (
            (parameter.dtype, parameter.device) != (bucket[0].dtype, bucket[0].device)
            or sum(other.numel() for other in bucket) + parameter.numel() > BUCKET
        ):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket

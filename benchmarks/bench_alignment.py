"""The alignment step of ResNet-18 at 64x64, batch 32 with 8 alignment images, against its floor and its usual form.

Floor: a plain cross-entropy step on 32 rows costs 32 forwards and 32 backwards (to inputs and to parameters),
about 3 * 32 forward-equivalents. The penalty adds, for each of the 8 alignment rows, the backward to the input
that it differentiates and the backward of that one: about 3 forward-equivalents, if nothing is done twice.
So (96 + 3 * 8) / 96 = 1.25 is what can be hoped for.

Ours is timed through the public `train`: an epoch of `STEPS` batches, divided by their number, with all that
it does around them (a copy of the module, its checks, the choice of rows).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import nets
from benchmarks.compare import Compare
from benchmarks.inputs import smooth_images
from benchmarks.rrr_peer import frozen_norms, plain_loss, step, whole_batch_loss
from lvlm_va.alignment import AlignmentSet, TrainingOptions, train

SIDE, BATCH, ALIGNED, STEPS, STRENGTH, LR = 64, 32, 8, 5, 10.0, 1e-4

# Losses and gradients of both sides, relative to the largest: the same sums, in another order. In float32 a ReLU
# whose input is next to 0 may open on one side only.
EQUAL = {torch.float32: 1e-3, torch.float64: 1e-9}


class RecordingSGD(torch.optim.SGD):
    """Keeps the gradients of the step that it takes."""

    def step(self, closure: Any = None) -> Any:
        self.gradients = [parameter.grad.clone() for parameter in self.param_groups[0]["params"]]
        return super().step(closure)


def data(
    n_steps: int, dtype: torch.dtype = torch.float32, side: int = SIDE
) -> tuple[Tensor, Tensor, AlignmentSet]:
    """Return plain images, their labels, and alignment images with a corner marked, for so many batches."""
    n_plain, n_aligned = n_steps * (BATCH - ALIGNED), n_steps * ALIGNED
    images = smooth_images(n_plain + n_aligned, 3, side).to(dtype)
    labels = torch.arange(len(images)) % nets.N_CLASSES
    masks = torch.zeros(n_aligned, side, side, dtype=dtype)
    masks[:, : side // 4, : side // 4] = 1
    return images[:n_plain], labels[:n_plain], AlignmentSet(images[n_plain:], labels[n_plain:], masks)


def align(
    module: nn.Module,
    plain: Tensor,
    labels: Tensor,
    aligned: AlignmentSet,
    optimizer: Callable[..., torch.optim.Optimizer],
) -> Any:
    options = TrainingOptions(
        epochs=1,
        batch_size=BATCH,
        lr=LR,
        optimizer=optimizer,
        rrr_strength=STRENGTH,
        align_fraction=ALIGNED / BATCH,
    )
    return train(module, plain, labels, options, alignment_set=aligned, seed=0)


def adam(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """The optimizer of every side that is timed."""
    return torch.optim.Adam(parameters, lr=lr)


def whole_batch(plain: Tensor, labels: Tensor, aligned: AlignmentSet) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, labels and masks of one batch."""
    images = torch.cat([plain, aligned.images])
    masks = torch.cat([plain.new_zeros(plain[:, 0].shape), aligned.masks])
    return images, torch.cat([labels, aligned.labels]), masks


def assert_equal_steps(dtype: torch.dtype, side: int) -> None:
    """Compare loss and gradients of one batch of ours with the usual double backward."""
    module = nets.resnet18(dtype)
    plain, labels, aligned = data(1, dtype, side)
    optimizers: list[RecordingSGD] = []

    def recording(parameters: Any, lr: float) -> RecordingSGD:
        optimizers.append(RecordingSGD(parameters, lr=lr))
        return optimizers[0]

    history = align(module, plain, labels, aligned, recording).history
    other = frozen_norms(copy.deepcopy(module))
    loss = whole_batch_loss(other, *whole_batch(plain, labels, aligned), ALIGNED, STRENGTH)
    loss.backward()
    assert abs(history.loss[0] - loss.item()) <= EQUAL[dtype] * abs(loss.item())
    for ours, parameter in zip(optimizers[0].gradients, other.parameters(), strict=True):
        error = float((ours - parameter.grad).abs().max() / parameter.grad.abs().max())
        assert error <= EQUAL[dtype], f"gradients differ by {error:.2g} of the largest"
    share = STRENGTH * history.penalty[0] / history.loss[0]
    assert 1e-3 < share < 0.999, f"the penalty is {share:.2g} of the loss: its gradient would go unseen"


def compare_steps(compare: Compare, loss: Callable[..., Tensor], note: str) -> None:
    """Time ours against steps down another loss, `STEPS` of each in a round."""
    assert_equal_steps(torch.float64, SIDE // 2)
    assert_equal_steps(torch.float32, SIDE)
    module = nets.resnet18()
    plain, labels, aligned = data(STEPS)
    other = frozen_norms(copy.deepcopy(module))
    optimizer = adam(other.parameters(), LR)
    size = BATCH - ALIGNED
    batches = [(slice(i * size, (i + 1) * size), slice(i * ALIGNED, (i + 1) * ALIGNED)) for i in range(STEPS)]

    def peer() -> None:
        for rows, marked in batches:
            part = AlignmentSet(aligned.images[marked], aligned.labels[marked], aligned.masks[marked])
            step(optimizer, loss(other, *whole_batch(plain[rows], labels[rows], part)))

    def ours() -> Any:
        return align(module, plain, labels, aligned, adam)

    epoch = ours().history.seconds[0]
    peer()
    compare(
        ours,
        peer,
        rounds=5,
        ours_scale=1 / STEPS,
        peer_scale=1 / STEPS,
        note=note,
        seconds_of_an_epoch=epoch,
    )


def test_rrr_plain_step(compare: Compare) -> None:
    compare_steps(
        compare,
        lambda module, images, labels, masks: plain_loss(module, images, labels),
        f"seconds per step; ours is train() on {STEPS} batches, all included",
    )


def test_rrr_whole_batch(compare: Compare) -> None:
    compare_steps(
        compare,
        lambda module, images, labels, masks: whole_batch_loss(
            module, images, labels, masks, ALIGNED, STRENGTH
        ),
        f"seconds per step; ours is train() on {STEPS} batches, all included",
    )

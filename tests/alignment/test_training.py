from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lvlm_va.alignment import AlignmentSet, History, TrainingOptions, train
from tests.alignment.nets import alignment_set, assert_equal_states, batch_norm_net, data, smooth_net, state
from tests.tolerances import OP

QUICK = TrainingOptions(epochs=2, batch_size=8)
ALIGNED = [None, alignment_set(5)]


@pytest.mark.parametrize("aligned", ALIGNED, ids=["plain", "aligned"])
def test_never_touches_what_the_user_passed(aligned: AlignmentSet | None) -> None:
    net = batch_norm_net()
    net.train()
    net[3].eval()
    images, labels = data(21)
    before, flags = state(net), [child.training for child in net.modules()]
    inputs = [images.clone(), labels.clone()]
    generator = torch.random.get_rng_state()
    result = train(net, images, labels, QUICK, alignment_set=aligned, seed=0)
    assert_equal_states(net, before)
    assert [child.training for child in net.modules()] == flags
    assert all(parameter.grad is None for parameter in [*net.parameters(), *result.module.parameters()])
    assert torch.equal(images, inputs[0]) and torch.equal(labels, inputs[1])
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert not images.requires_grad
    assert not any(child.training for child in result.module.modules())
    assert not torch.equal(result.module[5].weight, net[5].weight)


@pytest.mark.parametrize("aligned", ALIGNED, ids=["plain", "aligned"])
def test_seed_decides(aligned: AlignmentSet | None) -> None:
    images, labels = data(21)
    first = train(batch_norm_net(), images, labels, QUICK, alignment_set=aligned, seed=3).module
    torch.rand(5)
    again = train(batch_norm_net(), images, labels, QUICK, alignment_set=aligned, seed=3).module
    other = train(batch_norm_net(), images, labels, QUICK, alignment_set=aligned, seed=4).module
    assert_equal_states(first, again)
    assert not torch.equal(first[5].weight, other[5].weight)


def test_alignment_freezes_batch_statistics_and_plain_training_does_not() -> None:
    images, labels = data(21)
    net = batch_norm_net()
    plain = train(net, images, labels, QUICK, seed=0).module
    aligned = train(plain, images, labels, QUICK, alignment_set=alignment_set(5), seed=0).module
    assert not torch.equal(plain[1].running_mean, net[1].running_mean)
    assert torch.equal(aligned[1].running_mean, plain[1].running_mean)
    assert torch.equal(aligned[1].num_batches_tracked, plain[1].num_batches_tracked)
    assert not torch.equal(aligned[1].weight, plain[1].weight)


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("aligned", [False, True])
def test_one_step_is_the_gradient_of_the_stated_loss(l2: float, aligned: bool) -> None:
    net, (images, labels) = smooth_net(), data(4, dtype=torch.float64)
    part = alignment_set(4, dtype=torch.float64) if aligned else None
    options = TrainingOptions(
        epochs=1, batch_size=8, lr=0.1, optimizer="sgd", l2=l2, rrr_strength=0.02, align_fraction=0.5
    )
    result = train(net, images, labels, options, alignment_set=part, seed=0)

    expected = copy.deepcopy(net)
    inputs = images if part is None else torch.cat([images, part.images]).requires_grad_()
    logits = expected(inputs)
    loss = F.cross_entropy(logits, labels if part is None else torch.cat([labels, part.labels]))
    if part is not None:
        (gradient,) = torch.autograd.grad(logits.log_softmax(1).sum(), inputs, create_graph=True)
        penalty = (part.masks * gradient[4:, 0]).square().sum() / 4
        assert result.history.penalty[0] == pytest.approx(float(penalty.detach()), rel=1e-9)
        loss = loss + 0.02 * penalty
    # Biases do not decay.
    norm = sum(parameter.square().sum() for parameter in expected.parameters() if parameter.ndim > 1)
    (loss + l2 * norm).backward()
    rtol, atol = OP[torch.float64]
    for before, after in zip(expected.parameters(), result.module.parameters(), strict=True):
        torch.testing.assert_close(after, before - 0.1 * before.grad, rtol=rtol, atol=atol)
    norm = sum(float(p.detach().square().sum()) for p in result.module.parameters() if p.ndim > 1)
    assert result.history.loss[0] == pytest.approx(float(loss.detach()) + l2 * norm, rel=1e-9)


def test_l2_reaches_parameters_that_the_loss_does_not() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.spare = smooth_net(dtype=torch.float32), nn.Parameter(torch.ones(2, 2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)

    options = TrainingOptions(epochs=1, batch_size=8, lr=0.1, optimizer="sgd", l2=0.5)
    trained = train(Spare(), *data(8), options, seed=0).module
    torch.testing.assert_close(trained.spare, torch.full((2, 2), 0.9))


def test_frozen_parameters_stay() -> None:
    net = smooth_net(dtype=torch.float32)
    net[1].requires_grad_(False)
    trained = train(net, *data(20), QUICK, alignment_set=alignment_set(5), seed=0).module
    assert torch.equal(trained[1].weight, net[1].weight)
    assert not torch.equal(trained[3].weight, net[3].weight)


def test_empty_masks_are_legal_and_add_no_penalty() -> None:
    part = alignment_set(5)
    part = AlignmentSet(part.images, part.labels, torch.zeros_like(part.masks))
    history = train(batch_norm_net(), *data(20), QUICK, alignment_set=part, seed=0).history
    assert history.penalty == (0.0, 0.0)
    assert history.rrr_strength == (0.0, 0.0)


def test_a_batch_of_one_left_over_does_not_trouble_batch_normalisation() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    options = TrainingOptions(epochs=1, batch_size=2)
    assert len(train(net, *data(9), options, seed=0).history.loss) == 1


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", lambda p, lr: torch.optim.RMSprop(p, lr=lr)])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "step", None])
def test_optimizers_and_schedules_lower_the_loss(optimizer: object, schedule: object) -> None:
    options = TrainingOptions(epochs=6, batch_size=8, lr=0.005, optimizer=optimizer, schedule=schedule)
    images, _ = data(40)
    labels = (images.flatten(1)[:, 0] * 3).long().clamp(max=2)
    history = train(smooth_net(dtype=torch.float32), images, labels, options, seed=0).history
    assert history.loss[-1] < history.loss[0]


def test_schedule_is_stepped_after_each_batch() -> None:
    seen = []

    def schedule(optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        seen.append(total_steps)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 3))

    options = TrainingOptions(epochs=2, batch_size=8, schedule=schedule)
    images, labels = data(24)
    trained = train(smooth_net(dtype=torch.float32), images, labels, options, seed=0).module
    one = TrainingOptions(epochs=1, batch_size=8)
    assert seen == [6]
    assert_equal_states(trained, train(smooth_net(dtype=torch.float32), images, labels, one, seed=0).module)


def test_early_stop_keeps_the_weights_of_the_lowest_validation_loss() -> None:
    images, labels = data(40)
    options = TrainingOptions(epochs=60, batch_size=8, lr=0.02, validation_fraction=0.25, patience=3)
    net = smooth_net(dtype=torch.float32)
    result = train(net, images, labels, options, seed=0)
    losses = result.history.validation_loss
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 3 < 60
    short = TrainingOptions(epochs=best, batch_size=8, lr=0.02, validation_fraction=0.25, patience=3)
    assert_equal_states(result.module, train(net, images, labels, short, seed=0).module)


def test_held_out_images_decide_nothing_in_alignment() -> None:
    options = TrainingOptions(epochs=12, batch_size=8, lr=0.05, validation_fraction=0.25, patience=1)
    history = train(
        smooth_net(dtype=torch.float32), *data(40), options, alignment_set=alignment_set(5), seed=0
    ).history
    assert len(history.validation_loss) == len(history.validation_accuracy) == 12


def test_no_epochs_return_the_module_as_it_is() -> None:
    net = batch_norm_net()
    result = train(net, *data(9), TrainingOptions(epochs=0), seed=0)
    assert result.module is not net
    assert_equal_states(result.module, net)
    assert result.history == History()


def test_history_tells_each_epoch_and_the_callback_sees_it_grow() -> None:
    seen: list[History] = []
    result = train(
        batch_norm_net(),
        *data(20),
        QUICK,
        alignment_set=alignment_set(5),
        seed=0,
        on_epoch=seen.append,
        verbose=1,
    )
    assert [len(history.loss) for history in seen] == [1, 2]
    assert seen[-1] == result.history
    for name in ("loss", "cross_entropy", "penalty", "rrr_strength", "accuracy", "seconds"):
        assert len(getattr(result.history, name)) == 2
    assert result.history.validation_loss == ()
    assert all(0 <= value <= 1 for value in result.history.accuracy)


def test_images_may_be_of_another_precision_and_the_caller_without_gradients() -> None:
    images, labels = data(20, dtype=torch.float64)
    with torch.no_grad():
        trained = train(
            batch_norm_net(), images, labels, QUICK, alignment_set=alignment_set(5), seed=0
        ).module
    assert trained[5].weight.dtype == torch.float32

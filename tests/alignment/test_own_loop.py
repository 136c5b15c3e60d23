"""What users take for loops of their own does what the library's own training does."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.alignment import (
    AlignmentSet,
    MarkedBatchSampler,
    MarkedImages,
    RightReasonsLoss,
    TrainingOptions,
    right_reasons_penalty,
    train,
)
from lvlm_va.alignment.mixing import plan_batches
from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import ImageReader, StoredImages
from tests.alignment.nets import alignment_set, assert_equal_states, batch_norm_net, data, seeded, smooth_net

CPU = torch.device("cpu")


def norm_net() -> nn.Module:
    """Batch normalisation, and nothing drawn at random."""
    net = batch_norm_net()
    net[3] = nn.Identity()
    return net


def batch(n: int = 8, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    images, labels = data(n, dtype=dtype)
    masks = torch.zeros(n, 4, 4, dtype=dtype)
    masks[::2, :2] = 1
    return images, labels, masks


@pytest.mark.parametrize("strength", ["auto", 0.5])
@pytest.mark.parametrize("net", [smooth_net(dtype=torch.float32), norm_net()], ids=["smooth", "norm"])
def test_a_loop_with_the_loss_is_the_librarys_own_training(net: nn.Module, strength: float | str) -> None:
    (images, labels), aligned = data(20), alignment_set(7)
    options = TrainingOptions(epochs=3, batch_size=8, rrr_strength=strength, optimizer=torch.optim.Adam)
    expected = train(net, images, labels, options, alignment_set=aligned, seed=5)

    plan = plan_batches(20, aligned.masks.flatten(1).any(1), 8, 0.5)
    objective = RightReasonsLoss(strength, total_steps=round(3 * plan.expected_marked_steps))
    ours = copy.deepcopy(net).train()
    optimizer = torch.optim.Adam(ours.parameters(), lr=options.lr)
    for epoch in range(3):
        losses, n_rows = 0.0, 0
        for rows in plan.epoch(derive_seed(5, epoch + 1), CPU, CPU):
            of_aligned = torch.cat([rows.unmarked, rows.marked])
            given = (
                torch.cat([images[rows.plain], aligned.images[of_aligned]]),
                torch.cat([labels[rows.plain], aligned.labels[of_aligned]]),
                torch.cat([torch.zeros(len(rows.plain), 4, 4), aligned.masks[of_aligned]]),
            )
            loss = objective(ours, *given, n_aligned=rows.n_aligned)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses, n_rows = losses + loss.item() * rows.n_rows, n_rows + rows.n_rows
        assert losses / n_rows == pytest.approx(expected.history.loss[epoch], rel=1e-6)
        assert objective.rrr_strength == expected.history.rrr_strength[epoch]
    assert_equal_states(ours, expected.module)


def test_classes_weigh_in_the_cross_entropy_alone() -> None:
    net, weights = smooth_net(), torch.tensor([1.0, 2.0, 5.0])
    images, labels, masks = batch(dtype=torch.float64)
    found = RightReasonsLoss(0.3, class_weights=weights)(net, images, labels, masks)
    inputs = images.clone().requires_grad_()
    logits = net(inputs)
    penalty = right_reasons_penalty(logits, inputs, masks).sum() / 4
    expected = F.cross_entropy(logits, labels, weights.double()) + 0.3 * penalty
    torch.testing.assert_close(found, expected)


def test_images_without_a_mask_pay_nothing() -> None:
    net, (images, labels, masks) = smooth_net(), batch(dtype=torch.float64)
    objective = RightReasonsLoss(total_steps=5)
    plain = objective(net, images, labels, torch.zeros_like(masks))
    torch.testing.assert_close(plain, F.cross_entropy(net(images), labels))
    assert objective.rrr_strength == 0  # and the batch is none of lambda's rise


def through_torch(state: dict[str, Tensor]) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    "keep", [through_torch, lambda state: load(save(state))], ids=["torch", "safetensors"]
)
def test_lambda_goes_on_where_it_was(keep: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    net, given = smooth_net(dtype=torch.float32), batch()
    first, other = (RightReasonsLoss(total_steps=100) for _ in range(2))
    other.load_state_dict(keep(first.state_dict()))
    assert other.rrr_strength == 0
    for _ in range(3):
        first(net, *given)
    other.load_state_dict(keep(first.state_dict()))
    for _ in range(3):
        assert first.rrr_strength == other.rrr_strength > 0
        assert torch.equal(first(net, *given), other(net, *given))


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="whose 'strength' is a number, or \"auto\", as it is here"):
        RightReasonsLoss(1.0).load_state_dict(RightReasonsLoss(total_steps=5).state_dict())


def gradients(forward: Callable[[Tensor], object], net: nn.Module) -> list[Tensor]:
    parameters = list(net.parameters())
    return list(torch.autograd.grad(RightReasonsLoss(1.0)(forward, *batch()), parameters))


def scripted(net: nn.Module) -> nn.Module:
    return torch.jit.script(net)


def wrapped(net: nn.Module) -> Callable[[Tensor], object]:
    return lambda images: net(images)


def compiled(net: nn.Module) -> nn.Module:
    return torch.compile(net, backend="eager")


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("form", [scripted, wrapped, compiled])
def test_batch_normalisation_is_frozen_in_whatever_form_a_net_comes(form: Callable[..., object]) -> None:
    expected, net = norm_net(), norm_net().train()
    before = copy.deepcopy(net.state_dict())
    found = gradients(form(net), net)
    assert_equal_states(net.state_dict(), before)
    assert all(map(torch.equal, found, gradients(expected.eval(), expected)))


def test_a_compiled_step_is_an_eager_one() -> None:
    net = norm_net()
    step = torch.compile(lambda *given: RightReasonsLoss(1.0)(net, *given), backend="eager")
    found = torch.autograd.grad(step(*batch()), list(net.parameters()))
    assert all(map(torch.equal, found, gradients(net, net)))


def test_autocast_lowers_the_forward_as_the_estimator_does() -> None:
    net, given = smooth_net(dtype=torch.float32), batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = RightReasonsLoss(0.5)(net, *given).item()
    images, labels, masks = given
    marked = masks.flatten(1).any(1)
    aligned = AlignmentSet(images[marked], labels[marked], masks[marked])
    options = TrainingOptions(epochs=1, batch_size=8, precision="bf16", rrr_strength=0.5)
    result = train(net, images[~marked], labels[~marked], options, alignment_set=aligned, seed=0)
    assert found == pytest.approx(result.history.loss[0], rel=1e-5)
    assert found != pytest.approx(RightReasonsLoss(0.5)(net, *given).item(), rel=1e-5)
    with pytest.raises(RuntimeError, match="float16, whose range"), torch.autocast("cpu", torch.float16):
        RightReasonsLoss(0.5)(net, *given)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"strength": "Auto", "total_steps": 5}, ValueError, "'strength' argument .*Did you mean 'auto'"),
        ({"strength": -1}, ValueError, "'strength' argument must be \"auto\" or a number >= 0"),
        ({}, TypeError, "'total_steps' argument must be an integer >= 1, the calls .* Got None"),
        ({"total_steps": 0}, ValueError, "'total_steps' argument .* Got 0"),
        ({"strength": 1, "class_weights": [1.0, 0.0]}, ValueError, r"'class_weights' .* Got \[1.0, 0.0\]"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        RightReasonsLoss(**settings)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y, m: (x.byte(), y, m), TypeError, "'images' argument must be a floating tensor"),
        (lambda x, y, m: (x.half(), y, m), TypeError, "'images' argument must be float32 or float64"),
        (lambda x, y, m: (x, y.int(), m), TypeError, "'labels' argument must be an int64 tensor"),
        (lambda x, y, m: (x, y, m[1:]), ValueError, r"'masks' argument .* of shape \(8, 4, 4\)"),
        (lambda x, y, m: (x, y, m * 255), ValueError, r"'masks' argument .* values in \[0, 1\]"),
    ],
)
def test_batches_that_do_not_fit(change: Callable[..., tuple], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        RightReasonsLoss(1.0)(smooth_net(dtype=torch.float32), *change(*batch()))


def test_calls_that_cannot_be() -> None:
    net, given, objective = smooth_net(dtype=torch.float32), batch(), RightReasonsLoss(1.0)
    with pytest.raises(ValueError, match="'n_aligned' argument must be at least 4. Got 3"):
        objective(net, *given, n_aligned=3)
    with torch.no_grad(), pytest.raises(RuntimeError, match="cross_entropy where a net is only validated"):
        objective(net, *given)
    with pytest.raises(ValueError, match="Look for detach"):
        objective(lambda images: net(images.detach()), *given)


@given(
    marked=st.lists(st.booleans(), min_size=1, max_size=40).filter(any),
    batch_size=st.integers(2, 12),
    fraction=st.floats(0.05, 1),
    seed=st.integers(0, 9),
)
def test_batches_hold_their_share_of_marked_rows(
    marked: list[bool], batch_size: int, fraction: float, seed: int
) -> None:
    sampler = MarkedBatchSampler(torch.tensor(marked), batch_size, fraction, seed)
    batches = list(sampler)
    rows = [row for batch in batches for row in batch]
    assert len(batches) == len(sampler)
    assert {len(batch) for batch in batches} == {batch_size}
    (share,) = {sum(marked[row] for row in batch) for batch in batches}
    if all(marked) or fraction == 1:
        assert share == batch_size
    else:
        assert share == pytest.approx(batch_size * fraction, abs=0.5) or share in (1, batch_size - 1)
    for kind in (True, False):
        counts = [rows.count(row) for row, is_marked in enumerate(marked) if is_marked is kind]
        assert not counts or max(counts) - min(counts) <= 1
    if share < batch_size:
        # No further batch than it takes to show all others.
        assert set(rows) >= {row for row, is_marked in enumerate(marked) if not is_marked}
        assert len(batches) == -(-marked.count(False) // (batch_size - share))


def test_each_pass_is_another_epoch_and_each_epoch_the_same() -> None:
    masks = torch.zeros(30, 4, 4)
    masks[:9, 0] = 1
    first, other = (MarkedBatchSampler(masks, batch_size=6, seed=3) for _ in range(2))
    epochs = [list(first) for _ in range(3)]
    other.set_epoch(2)
    assert list(other) == epochs[2] != epochs[1] != epochs[0]
    assert list(MarkedBatchSampler(masks[:, 0, 0] > 0, batch_size=6, seed=4)) != epochs[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (torch.zeros(4, 2, 2), 2),
            ValueError,
            "'marked' argument must mark at least one image. Got none among 4",
        ),
        ((torch.ones(4), 2), TypeError, "'marked' argument must be a bool tensor .* Got torch.float32"),
        (([True], 2), TypeError, "'marked' argument must be a bool tensor .* Got <class 'list'>"),
        ((torch.arange(4) < 2, 1), ValueError, "'batch_size' argument must be at least 2"),
        ((torch.arange(4) < 2, 2, 0.0), ValueError, r"'fraction' argument must lie in \(0, 1\]"),
    ],
)
def test_samplers_that_cannot_be(arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        MarkedBatchSampler(*arguments)


@pytest.mark.parametrize("stored", [False, True])
def test_a_loader_gives_each_image_its_mask(stored: bool) -> None:
    images, labels = data(10)
    masked, masks = torch.tensor([7, 2, 5]), torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, 1], masks[1, 2] = True, True  # the last one is empty
    rows = torch.tensor([0, 2, 4, 5, 7, 9])
    kept = StoredImages(ImageReader(list(zip(images, labels, strict=True)), 0)) if stored else images
    found = MarkedImages(kept, labels, masked, masks, rows)
    assert found.marked.tolist() == [False, True, False, False, True, False]
    expected = torch.zeros(10, 4, 4, dtype=torch.bool)
    expected[masked] = masks
    for loader in (DataLoader(found, batch_size=4), [_collated(found)]):
        x, y, m = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert torch.equal(x, images[rows])
        assert torch.equal(y, labels[rows])
        assert torch.equal(m, expected[rows])


def _collated(found: MarkedImages) -> list[Tensor]:
    """All items, one by one, as an index from the end reads them."""
    return torch.utils.data.default_collate([found[row - len(found)] for row in range(len(found))])


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"propagate": True}], ids=str)
def test_the_estimator_tells_what_it_aligned_with(settings: dict[str, bool]) -> None:
    generator = torch.Generator().manual_seed(0)
    X, y = torch.rand(60, 1, 8, 8, generator=generator), torch.arange(60) % 2
    X[:, 0, :2, :2] = y[:, None, None].float()
    clf = LVLMVAClassifier(
        seeded(0, lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2))),
        critic=RegionCritic({"irrelevant": ["corners"]}),
        sampler="random",
        segmenter="grid",
        n_align=20,
        epochs=5,
        align_epochs=1,
        batch_size=8,
        random_state=0,
        **settings,
    ).fit(X, y)
    found = clf.alignment_data_
    masks = torch.stack([mask for _, _, mask in found])
    assert torch.equal(torch.stack([image for image, _, _ in found]), X[found.rows])
    assert [label for _, label, _ in found] == y[found.rows].tolist()
    assert torch.equal(found.marked, masks.flatten(1).any(1))
    expected = torch.zeros(60, 8, 8, dtype=torch.bool)
    expected[clf.alignment_set_] = torch.from_numpy(clf.masks_)
    if settings.get("propagate"):
        expected[clf.propagated_.indices] = clf.propagated_.masks
    assert torch.equal(masks > 0, expected[found.rows])
    left_out = set(range(60)) - set(found.rows.tolist())
    assert left_out <= set(clf.alignment_set_.tolist())
    assert len(left_out) == (4 if settings.get("early_stopping") else 0)
    assert found.marked.any()
    assert not hasattr(pickle.loads(pickle.dumps(clf)), "alignment_data_")

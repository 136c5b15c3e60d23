"""Training in bfloat16, and in batches cut into parts, against training as usual."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet, TrainingOptions, WorstGroupWeighting, train
from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.objective import TrainingRows, batch_loss
from lvlm_va.alignment.strength import FixedStrength
from tests.alignment.nets import SHAPE, AttentionNet, alignment_set, assert_equal_states, data, seeded
from tests.tolerances import BF16, PROCESSES

NETS = {
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ),
    "frozen batch norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval(),
    "attention": AttentionNet,
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)),
}


def _gradients(net: nn.Module, strength: float, *, bf16: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch with marked and other rows, and its derivative in all parameters."""
    images, labels = data(12)
    rows = TrainingRows(images, labels, alignment_set(9), torch.device("cpu"), torch.float32)
    batch = Batch(torch.arange(12), torch.tensor([0, 3]), torch.tensor([1, 2, 4, 5, 7]))
    terms = batch_loss(net, rows, batch, FixedStrength(strength), bf16=bf16)
    gradients = torch.autograd.grad(terms.loss, list(net.parameters()))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    return terms.loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("strength", [0.0, 1e4], ids=["cross-entropy", "penalty"])
def test_derivatives_in_bfloat16_are_those_in_float32(name: str, strength: float) -> None:
    net = seeded(0, NETS[name])
    loss, gradient = _gradients(net, strength, bf16=False)
    lowered_loss, lowered = _gradients(net, strength, bf16=True)
    assert 0 < abs(lowered_loss - loss) < BF16 * loss
    assert (lowered - gradient).norm() < BF16 * gradient.norm()


def test_a_run_in_bfloat16_keeps_its_weights_in_float32() -> None:
    images, labels = data(40)
    labels = (images.flatten(1)[:, 0] * 3).long().clamp(max=2)
    options = TrainingOptions(epochs=5, batch_size=8, lr=0.01, rrr_strength=1e-3)
    lowered = dataclasses.replace(options, precision="bf16")
    results = [
        train(seeded(0, NETS["cnn"]), images, labels, how, alignment_set=alignment_set(9), seed=0)
        for how in (options, lowered)
    ]
    full, low = (result.history.loss for result in results)
    assert low != full
    assert low == pytest.approx(full, rel=BF16)
    assert all(value.dtype == torch.float32 for value in results[1].module.state_dict().values())


def _whole_and_in_parts(name: str, aligned: AlignmentSet | None, n_parts: int = 3, **options: object) -> None:
    images, labels = data(23, dtype=torch.float64)
    whole = TrainingOptions(**{"epochs": 3, "batch_size": 9, "lr": 0.01, "l2": 1e-3} | options)
    results = [
        train(seeded(0, NETS[name]).double(), images, labels, how, alignment_set=aligned, seed=0)
        for how in (whole, dataclasses.replace(whole, accumulation_steps=n_parts))
    ]
    one, parts = (dataclasses.asdict(result.history) for result in results)
    for curve in one.keys() - {"seconds"}:
        assert parts[curve] == pytest.approx(one[curve], rel=PROCESSES["rtol"], abs=PROCESSES["atol"]), curve
    for first, second in zip(*(result.module.parameters() for result in results), strict=True):
        torch.testing.assert_close(first, second, **PROCESSES)


@pytest.mark.parametrize("name", ["cnn", "mlp"])
@pytest.mark.parametrize("strength", ["auto", 0.01, None])
def test_parts_of_a_batch_add_up_to_it(name: str, strength: float | str | None) -> None:
    if strength is None:
        _whole_and_in_parts(name, None)
    else:
        _whole_and_in_parts(name, alignment_set(7, dtype=torch.float64), rrr_strength=strength)


def test_parts_may_have_no_rows() -> None:
    _whole_and_in_parts("cnn", alignment_set(4, dtype=torch.float64), n_parts=20)


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"accumulation_steps": 2}])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path, changes: dict[str, object]) -> None:
    class InterruptedRunError(Exception):
        pass

    def interrupt(history: object) -> None:
        raise InterruptedRunError

    def run(**more: object) -> nn.Module:
        net = nn.Sequential(nn.Dropout(0.2), seeded(0, NETS["cnn"]))
        options = TrainingOptions(epochs=3, batch_size=8, **changes)
        return train(net, *data(20), options, alignment_set=alignment_set(7), seed=0, **more).module

    path = tmp_path / "run.safetensors"
    with pytest.raises(InterruptedRunError):
        run(checkpoint_path=path, on_epoch=interrupt)
    assert_equal_states(run(checkpoint_path=path), run())


def test_what_does_not_go_together_is_refused() -> None:
    images, labels = data(8, dtype=torch.float64)
    assert images.shape[1:] == SHAPE
    net = NETS["mlp"]()
    with pytest.raises(ValueError, match="Got 'bf16'"):
        train(net.double(), images, labels, TrainingOptions(precision="bf16"), seed=0)
    with pytest.raises(ValueError, match="'accumulation_steps' option must be 1 with a weighting"):
        weighting = WorstGroupWeighting(labels)
        train(net, images, labels, TrainingOptions(accumulation_steps=2), weighting=weighting, seed=0)
    with pytest.raises(ValueError, match="precision.*'bf16'"):
        TrainingOptions(precision="fp16")
    with pytest.raises(ValueError, match="'accumulation_steps' argument must be an integer >= 1"):
        TrainingOptions(accumulation_steps=0)

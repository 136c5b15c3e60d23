from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from tests.alignment.nets import alignment_set, data, smooth_net

QUICK = TrainingOptions(epochs=1, batch_size=8)


class Through(nn.Module):
    """A net with something in front of it."""

    def __init__(
        self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = smooth_net(dtype=torch.float32), before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.net(self.before(images)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "'epochs' argument must be an integer >= 0. Got -1"),
        ({"epochs": 1.5}, TypeError, "'epochs' argument must be an integer"),
        ({"batch_size": 0}, ValueError, "'batch_size' argument must be an integer >= 1"),
        ({"patience": True}, TypeError, "'patience' argument must be an integer"),
        ({"lr": 0}, ValueError, "'lr' argument must be a positive number"),
        ({"lr": "fast"}, TypeError, "'lr' argument must be a positive number"),
        ({"l2": -1.0}, ValueError, "'l2' argument must be a number >= 0"),
        ({"align_fraction": 0}, ValueError, r"'align_fraction' argument must be a number in \(0, 1\]"),
        (
            {"validation_fraction": 1.0},
            ValueError,
            r"'validation_fraction' argument must be a number in \[0, 1\)",
        ),
        (
            {"rrr_strength": "Auto"},
            ValueError,
            "'rrr_strength' argument must be one of .*Did you mean 'auto'",
        ),
        (
            {"rrr_strength": float("nan")},
            ValueError,
            "'rrr_strength' argument must be \"auto\" or a number >= 0",
        ),
        ({"optimizer": "adamm"}, ValueError, "'optimizer' argument must be one of .*Did you mean 'adam'"),
        ({"optimizer": 3}, TypeError, "'optimizer' argument must be one of .* or a callable"),
        ({"schedule": "cosin"}, ValueError, "'schedule' argument must be one of .*Did you mean 'cosine'"),
    ],
)
def test_options(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TrainingOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"optimizer": lambda p, lr: torch.optim.LBFGS(p)}, ValueError, "without a closure. Got LBFGS"),
        ({"optimizer": lambda p, lr: None}, TypeError, "must return a torch.optim.Optimizer. Got NoneType"),
        (
            {"schedule": lambda o, steps: torch.optim.lr_scheduler.ReduceLROnPlateau(o)},
            TypeError,
            "stepped after each batch. Got ReduceLROnPlateau",
        ),
        ({"validation_fraction": 0.99}, ValueError, "must leave images to train on"),
    ],
)
def test_options_that_show_only_in_a_run(
    changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(smooth_net(dtype=torch.float32), *data(9), dataclasses.replace(QUICK, **changes), seed=0)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        ("mlp", TypeError, "'module' argument must be a torch.nn.Module. Got str"),
        (
            smooth_net().half(),
            ValueError,
            "'module' argument must have float32 or float64.*Pass module.float()",
        ),
        (smooth_net().bfloat16(), ValueError, "'module' argument must have float32 or float64"),
        (nn.Flatten(), ValueError, "'module' argument must have parameters that require gradients"),
        (
            Through(torch.detach),
            ValueError,
            "'module' argument must be differentiable from its logits to the image",
        ),
        (
            Through(lambda x: x, torch.detach),
            ValueError,
            "'module' argument must be differentiable .* its parameters",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
            ValueError,
            "'labels' argument must lie in 0 to 1, the module's outputs. Got 2",
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(9, 3)),
            ValueError,
            "'module' argument must accept images of shape",
        ),
        (nn.Conv2d(1, 3, 1), ValueError, r"module must return logits of shape \(1, n_classes\)"),
    ],
)
def test_modules(module: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(module, *data(12), QUICK, alignment_set=alignment_set(6), seed=0)


def test_a_module_without_input_gradient_can_be_trained_plainly() -> None:
    net = Through(torch.round)
    net.before = lambda images: images.detach().round()
    assert len(train(net, *data(12), QUICK, seed=0).history.loss) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": [[0.0]]}, TypeError, "'images' argument must be a floating tensor"),
        ({"images": torch.zeros(9, 1, 4, 4, dtype=torch.uint8)}, TypeError, "Got torch.uint8 instead; scale"),
        ({"images": torch.zeros(9, 16)}, ValueError, r"'images' argument .* Got shape \(9, 16\)"),
        ({"labels": torch.zeros(8, dtype=torch.int64)}, ValueError, r"'labels' argument .* Got shape \(8,\)"),
        (
            {"labels": torch.zeros(9)},
            TypeError,
            "'labels' argument must be an int64 tensor.* Got torch.float32",
        ),
        ({"labels": torch.full((9,), -1)}, ValueError, "'labels' argument .* Got -1 among them"),
        ({"seed": -1}, ValueError, "'seed' argument must be an integer >= 0"),
        ({"seed": None}, TypeError, "'seed' argument must be an integer >= 0"),
    ],
)
def test_data(changes: dict[str, object], error: type[Exception], message: str) -> None:
    images, labels = data(9)
    arguments = {"images": images, "labels": labels, "options": QUICK, "seed": 0} | changes
    with pytest.raises(error, match=message):
        train(smooth_net(dtype=torch.float32), **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"images": torch.rand(6, 1, 5, 4)},
            ValueError,
            r"'alignment_set.images' .* \(1, 4, 4\). Got \(1, 5, 4\)",
        ),
        ({"labels": torch.full((6,), 3)}, ValueError, "'labels' argument must lie in 0 to 2"),
        (
            {"masks": torch.zeros(6, 1, 4, 4)},
            ValueError,
            r"'alignment_set.masks' .* shape \(6, 4, 4\): a mask per",
        ),
        ({"masks": torch.zeros(5, 4, 4)}, ValueError, r"'alignment_set.masks' .* Got \(5, 4, 4\)"),
        ({"masks": torch.full((6, 4, 4), 2.0)}, ValueError, r"'alignment_set.masks' .* values in \[0, 1\]"),
        (
            {"masks": torch.full((6, 4, 4), torch.nan)},
            ValueError,
            r"'alignment_set.masks' .* values in \[0, 1\]",
        ),
        (
            {"masks": torch.zeros(6, 4, 4, dtype=torch.int64)},
            TypeError,
            "'alignment_set.masks' .* Got torch.int64",
        ),
        ({"masks": None}, TypeError, "'alignment_set.masks' .* Got NoneType"),
    ],
)
def test_alignment_sets(changes: dict[str, object], error: type[Exception], message: str) -> None:
    part: AlignmentSet = dataclasses.replace(alignment_set(6), **changes)
    with pytest.raises(error, match=message):
        train(smooth_net(dtype=torch.float32), *data(9), QUICK, alignment_set=part, seed=0)

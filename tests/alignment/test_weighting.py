"""Images shown more or less often, and weights that grow with a group's loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.alignment import TrainingOptions, WorstGroupWeighting, train
from lvlm_va.alignment.mixing import plan_batches
from tests.alignment.nets import alignment_set, assert_equal_states, data, smooth_net

CPU = torch.device("cpu")
QUICK = TrainingOptions(epochs=3, batch_size=8)
GROUPS = torch.arange(21) % 3


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    repeats=st.lists(st.integers(0, 5), min_size=1, max_size=40).filter(any),
    batch_size=st.integers(1, 16),
    seed=st.integers(0, 2**32),
)
def test_an_epoch_shows_each_image_as_often_as_asked(repeats: list[int], batch_size: int, seed: int) -> None:
    plan = plan_batches(
        len(repeats), torch.empty(0, dtype=torch.bool), batch_size, 0.5, torch.tensor(repeats)
    )
    shown = torch.cat([batch.plain for batch in plan.epoch(seed, CPU, CPU)])
    assert shown.bincount(minlength=len(repeats)).tolist() == repeats


def test_images_that_are_never_shown_have_no_say() -> None:
    images, labels = data(21)
    repeats = torch.tensor([1] * 15 + [0] * 6)
    other = images.clone()
    other[15:] = 0.5
    one, two = (
        train(smooth_net(), x, labels, QUICK, repeats=repeats, seed=0).module for x in (images, other)
    )
    assert_equal_states(one, two)


def test_repeats_follow_the_images_that_are_not_held_out() -> None:
    images, labels = data(20)
    options = TrainingOptions(epochs=1, batch_size=4, validation_fraction=0.5)
    seen: list[int] = []
    repeats = torch.arange(20) % 2  # odd rows only

    class Spy(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.extend((images == x[i]).flatten(1).all(1).nonzero().item() for i in range(len(x)))
            return super().forward(x)

    train(Spy(*smooth_net()), images, labels, options, repeats=repeats, seed=0)
    assert seen
    assert all(row % 2 for row in seen)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("repeats", "error", "got"),
    [
        (torch.ones(20, dtype=torch.int64), ValueError, r"shape \(20,\)"),
        (torch.ones(21), TypeError, "torch.float32"),
        (torch.zeros(21, dtype=torch.int64), ValueError, "from 0 to 0"),
        (-torch.ones(21, dtype=torch.int64), ValueError, "from -1 to -1"),
        ([1] * 21, TypeError, "list"),
    ],
)
def test_wrong_repeats(repeats: object, error: type[Exception], got: str) -> None:
    images, labels = data(21)
    with pytest.raises(error, match=f"'repeats' argument must be an int64 tensor.*Got .*{got}"):
        train(smooth_net(), images, labels, QUICK, repeats=repeats, seed=0)  # type: ignore[arg-type]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    losses=st.lists(st.floats(0, 1e4), min_size=1, max_size=21),
    step_size=st.floats(1e-3, 2.0),
    start=st.integers(0, 20),
)
def test_shares_follow_the_rule(losses: list[float], step_size: float, start: int) -> None:
    weighting = WorstGroupWeighting(GROUPS, step_size)
    rows = (torch.arange(len(losses)) + start) % 21
    values = torch.tensor(losses, dtype=torch.float64)
    means = torch.tensor(
        [values[GROUPS[rows] == g].mean() if (GROUPS[rows] == g).any() else 0.0 for g in range(3)]
    ).double()
    expected = (step_size * means).softmax(0)
    loss = weighting.loss(values, rows)
    torch.testing.assert_close(weighting.shares.double(), expected)
    torch.testing.assert_close(loss, (expected * means).sum())


def test_the_worst_group_comes_to_weigh_most() -> None:
    weighting = WorstGroupWeighting(GROUPS, 0.5)
    shares = []
    for _ in range(5):
        weighting.loss(torch.where(GROUPS == 1, 1.0, 0.1), torch.arange(21))
        shares.append(weighting.shares)
    assert (torch.stack(shares)[:, 1].diff() > 0).all()
    assert shares[-1].argmax() == 1
    assert float(shares[-1].sum()) == pytest.approx(1)


def test_training_leaves_the_callers_weighting_alone_and_returns_its_own() -> None:
    images, labels = data(21)
    weighting = WorstGroupWeighting(GROUPS)
    result = train(smooth_net(), images, labels, QUICK, weighting=weighting, seed=0)
    assert weighting.shares.tolist() == pytest.approx([1 / 3] * 3)
    assert isinstance(result.weighting, WorstGroupWeighting)
    assert not torch.allclose(result.weighting.shares.float(), weighting.shares)


def test_a_resumed_run_goes_on_with_the_same_shares(tmp_path) -> None:
    images, labels = data(21)
    path = tmp_path / "run.safetensors"

    def stop(history):
        if len(history.loss) == 2:
            raise InterruptedError

    def run(**more):
        weighting = WorstGroupWeighting(GROUPS, 0.5)
        return train(smooth_net(), images, labels, QUICK, weighting=weighting, seed=0, **more)

    with pytest.raises(InterruptedError):
        run(checkpoint_path=path, on_epoch=stop)
    resumed, whole = run(checkpoint_path=path), run()
    assert_equal_states(resumed.module, whole.module)
    assert torch.equal(resumed.weighting.shares, whole.weighting.shares)
    with pytest.raises(ValueError, match="'checkpoint_path' argument must name this run's checkpoint"):
        train(smooth_net(), images, labels, QUICK, seed=0, checkpoint_path=path)


def test_weighting_goes_with_plain_training_only() -> None:
    images, labels = data(21)
    for options, aligned in (
        (QUICK, alignment_set(5)),
        (TrainingOptions(epochs=1, validation_fraction=0.2), None),
    ):
        with pytest.raises(
            ValueError, match="'weighting' argument must be None in alignment and with held-out"
        ):
            train(
                smooth_net(),
                images,
                labels,
                options,
                alignment_set=aligned,
                weighting=WorstGroupWeighting(GROUPS),
                seed=0,
            )


def test_wrong_weighting() -> None:
    images, labels = data(21)
    with pytest.raises(
        ValueError, match="'weighting' argument must hold a group for each of 21 images. Got 3"
    ):
        train(smooth_net(), images, labels, QUICK, weighting=WorstGroupWeighting(GROUPS[:3]), seed=0)
    with pytest.raises(TypeError, match="'groups' argument must be an int64 tensor.*Got torch.float32"):
        WorstGroupWeighting(torch.zeros(3))
    with pytest.raises(ValueError, match="'groups' argument must be .* numbers below 0"):
        WorstGroupWeighting(torch.tensor([-1, 0]))
    with pytest.raises(ValueError, match="'step_size' argument must be a number > 0. Got 0"):
        WorstGroupWeighting(GROUPS, 0)

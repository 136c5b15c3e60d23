"""Early stopping of alignment: which epoch is kept, what is held out, and that a resumed run keeps the same."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic
from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.attribution import DeepLiftShap, Explainer, ReferenceSet
from lvlm_va.metrics import right_reasons_accuracy
from lvlm_va.propagation import Propagation
from lvlm_va.rounds import alignment_job
from lvlm_va.rounds.held_out import HeldOutPoints, hold_out, n_held_out
from tests.alignment.nets import alignment_set, assert_equal_states, batch_norm_net, data, smooth_net

PROPAGATION = Propagation(DecisionTreeClassifier(max_depth=2, random_state=0), n_images=40)
OPTIONS = TrainingOptions(epochs=5, batch_size=8, lr=0.01)


class InterruptedRunError(Exception):
    pass


@dataclass(frozen=True, eq=False)
class Curve:
    """Points that are known beforehand: one row of a table for each epoch."""

    rows: tuple[tuple[float, ...], ...]
    seen: list[dict[str, Tensor]] = dataclasses.field(default_factory=list)

    def __call__(self, module: nn.Module) -> Tensor:
        assert not module.training
        self.seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return torch.tensor(self.rows[len(self.seen) - 1])


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([[0, 0], [1, 1], [0, 0], [0, 0], [0, 0]], 1),
        ([[0, 0], [1, 1], [0, 0], [1, 1], [0, 0]], 3),  # of equal ones the later
        ([[0, 0], [1, 0], [1, 1], [1, 0.9], [0, 0]], 3),  # a difference of one standard error
        ([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], 1),
        ([[0.5], [0.9], [0.8], [0.9], [0.89]], 3),  # a single image has no standard error
    ],
)
def test_keeps_the_last_epoch_that_none_beats(rows, kept):
    points = Curve(tuple(map(tuple, np.array(rows, float).tolist())))
    result = train(
        smooth_net(dtype=torch.float32),
        *data(21),
        OPTIONS,
        alignment_set=alignment_set(5),
        points=points,
        seed=0,
    )
    for name, value in points.seen[kept].items():
        assert torch.equal(result.module.state_dict()[name], value)
    assert result.history.validation_score == pytest.approx(np.mean(rows, axis=1))


def _points(seed: int = 2) -> HeldOutPoints:
    images, labels = data(12, seed=seed)
    masks = torch.zeros(12, 4, 4)
    masks[:, :2] = 1
    references = ReferenceSet("zeros", torch.zeros(1, *images.shape[1:]))
    return HeldOutPoints(AlignmentSet(images, labels, masks), Explainer(DeepLiftShap(), references), 8)


def test_a_resumed_run_keeps_the_same_epoch(tmp_path):
    path, images = tmp_path / "run.safetensors", data(21)
    options = dataclasses.replace(OPTIONS, epochs=8, lr=0.05, rrr_strength=0.1)

    def run(points, **more):
        return train(
            batch_norm_net(), *images, options, alignment_set=alignment_set(5), points=points, seed=0, **more
        )

    def interrupt(history):
        if len(history.loss) % 3 == 0:
            raise InterruptedRunError

    whole = run(_points())
    for _ in range(2):
        with pytest.raises(InterruptedRunError):
            run(_points(), checkpoint_path=path, on_epoch=interrupt)
    resumed = run(_points(), checkpoint_path=path)
    assert_equal_states(resumed.module, whole.module)
    assert resumed.history.validation_score == whole.history.validation_score
    assert len(set(whole.history.validation_score)) > 1
    with pytest.raises(ValueError, match="'checkpoint_path' argument must name this run's checkpoint"):
        run(_points(seed=3), checkpoint_path=path)


def test_plain_training_is_stopped_by_one_measure_only():
    with pytest.raises(ValueError, match="'points' argument must be None in plain training with held-out"):
        options = dataclasses.replace(OPTIONS, validation_fraction=0.2)
        train(smooth_net(), *data(21), options, points=Curve(()), seed=0)


@given(st.integers(2, 30), st.floats(0.01, 0.5), st.integers(0, 5), st.integers(0, 2**31))
def test_held_out_images_take_no_part_in_alignment(n_critiqued, fraction, n_more, seed):
    n = n_critiqued + n_more + 3
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    rows = order[: n_critiqued + n_more]  # the critiqued ones, and some to which verdicts were extended
    images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 2, 2)
    labels, masks = torch.arange(n), torch.arange(n)[:, None, None].expand(n, 2, 2)
    masked = AlignmentSet(images[rows], labels[rows], masks[rows])
    held = hold_out(masked, rows[:n_critiqued], n, fraction, None, 8, seed, indices=rows)  # type: ignore[arg-type]
    out, kept = held.points.held_out, held.alignment_set
    assert len(out.labels) == n_held_out(n_critiqued, fraction) >= 1
    assert set(out.labels.tolist()) <= set(rows[:n_critiqued].tolist())
    assert set(out.labels.tolist()) | set(kept.labels.tolist()) == set(rows.tolist())
    assert len(out.labels) + len(kept.labels) == len(rows)
    assert held.repeats.nonzero()[:, 0].tolist() == sorted(set(range(n)) - set(out.labels.tolist()))
    for part in (out, kept):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
        assert torch.equal(part.masks[:, 0, 0], part.labels)


def test_nobody_is_on_both_sides():
    """Of a patient that is held out, images that verdicts were extended to stay out, too."""
    patients = torch.arange(40) // 4
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    masked = AlignmentSet(torch.rand(40, 1, 2, 2)[rows], rows, torch.ones(40, 2, 2))
    held = hold_out(masked, rows[:15], 40, 0.3, None, 8, 0, patients, rows)  # type: ignore[arg-type]
    out, kept = held.points.held_out.labels, held.alignment_set.labels
    assert set(out.tolist()) <= set(rows[:15].tolist())
    for still_seen in (kept, held.repeats.nonzero()[:, 0]):
        assert not set(patients[out].tolist()) & set(patients[still_seen].tolist())
    assert set(patients[kept].tolist()) | set(patients[out].tolist()) == set(range(10))


def make(**parameters) -> LVLMVAClassifier:
    defaults = {
        "critic": RegionCritic({"irrelevant": ["left"]}),
        "n_align": 20,
        "n_references": 5,
        "epochs": 2,
        "align_epochs": 4,
        "batch_size": 16,
        "early_stopping": True,
        "random_state": 0,
    }
    return LVLMVAClassifier("mlp", **{**defaults, **parameters})


@pytest.mark.parametrize(
    "changes", [{}, {"n_rounds": 2}, {"propagate": PROPAGATION}], ids=["once", "rounds", "propagated"]
)
def test_the_module_has_a_score_of_the_curve(blobs, monkeypatch, changes):
    X, y = blobs
    held = []
    monkeypatch.setattr(alignment_job, "hold_out", lambda *given: held.append(hold_out(*given)) or held[-1])
    clf = make(**changes).fit(X, y)
    out = held[-1].points.held_out
    n_critiqued = 20 * clf.n_rounds
    assert len(out.labels) == n_critiqued // 5
    assert clf.masks_.shape == (n_critiqued, 8, 8)
    images, labels = out.images.numpy(), out.labels.numpy()
    score = right_reasons_accuracy(
        labels,
        clf.predict(images),
        attributions=clf.explain(images, labels).attributions,
        masks=out.masks,
    )
    curve = clf.history_["align"][-1].validation_score
    assert len(curve) == 4
    assert score == pytest.approx(next(value for value in curve if abs(value - score) < 1e-6), abs=1e-6)
    again = clf.predict_proba(X)
    np.testing.assert_array_equal(clf.realign(clf.verdicts_).predict_proba(X), again)


def test_a_fit_that_was_killed_in_the_middle_keeps_the_same_epoch(blobs, monkeypatch, tmp_path):
    whole = make().fit(*blobs)

    def interrupt(history):
        if len(history.loss) == 2 and history.validation_score:
            raise InterruptedRunError

    with monkeypatch.context() as patch:
        patch.setattr(alignment_job, "train", lambda *a, **k: train(*a, **{**k, "on_epoch": interrupt}))
        with pytest.raises(InterruptedRunError):
            make(run_dir=tmp_path / "run").fit(*blobs)
    resumed = make(run_dir=tmp_path / "run").fit(*blobs)
    assert_equal_states(resumed.module_, whole.module_)
    assert resumed.history_["align"][0].validation_score == whole.history_["align"][0].validation_score
    other = make(run_dir=tmp_path / "run", validation_fraction=0.4).fit(*blobs)
    assert_equal_states(other.module_, make(validation_fraction=0.4).fit(*blobs).module_)


def test_too_few_images_are_refused_before_the_critic_is_asked(blobs):
    class Deaf(OracleCritic):
        def critique(self, requests):
            raise AssertionError

    X, y = blobs
    critic = Deaf(np.zeros((60, 8, 8), bool))
    with pytest.raises(
        ValueError, match="'validation_fraction' argument must leave .* Got 0.9 for 3 critiqued"
    ):
        make(critic=critic, n_align=3, validation_fraction=0.9).fit(X, y)
    for value in (0, 1, "half"):
        with pytest.raises(ValueError, match="'validation_fraction' parameter"):
            make(validation_fraction=value).fit(X, y)

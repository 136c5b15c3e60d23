"""Learning verdicts: wrong ones are averaged out, and nothing is judged by what saw it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lvlm_va.propagation import Propagation, SegmentVerdicts, VerdictLearner, learner


@pytest.fixture(autouse=True)
def as_many_trees_as_usual(usual_trees: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "N_TREES", usual_trees)


def known(n_images: int, accuracy: float, n_activations: int = 0) -> tuple[SegmentVerdicts, np.ndarray]:
    """Two segments per image, of which the first, in the corner, is spurious; some verdicts are wrong."""
    rng = np.random.default_rng(0)
    truth = np.tile([True, False], n_images)
    plain = rng.normal(size=(2 * n_images, 6)) + 4 * truth[:, None] * np.eye(6)[0]
    activations = rng.normal(size=(2 * n_images, n_activations))
    verdicts = np.where(rng.random(len(truth)) < accuracy, truth, ~truth)
    features = np.hstack([plain, activations]).astype(np.float32)
    return SegmentVerdicts(features, n_activations, np.repeat(np.arange(n_images), 2), verdicts), truth


@pytest.mark.parametrize("n_activations", [0, 200])
@pytest.mark.parametrize(("accuracy", "least"), [(1.0, 0.95), (0.75, 0.9)])
def test_averages_wrong_verdicts_out(n_activations: int, accuracy: float, least: float) -> None:
    verdicts, truth = known(100, accuracy, n_activations)
    learner = VerdictLearner(None, 0).fit(verdicts)
    assert ((learner.p_out_of_fold >= 0.5) == truth).mean() >= least
    assert ((learner.p_spurious(verdicts.features) >= 0.5) == truth).mean() >= least
    assert learner.agreement == pytest.approx(((learner.p_out_of_fold >= 0.5) == verdicts.spurious).mean())
    assert learner.agreement == pytest.approx(accuracy, abs=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_few_spurious_segments_do_not_drown_in_wrong_verdicts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.arange(1500) % 18 == 0
    features = (rng.normal(size=(1500, 20)) + 4 * truth[:, None] * (np.arange(20) < 2)).astype(np.float32)
    verdicts = np.where(rng.random(1500) < 0.7, truth, ~truth)
    learner = VerdictLearner(None, seed).fit(SegmentVerdicts(features, 0, np.arange(1500) // 5, verdicts))
    found = learner.p_spurious(features) >= 0.5
    assert found[truth].mean() >= 0.7
    assert found[~truth].mean() <= 0.03


def test_few_right_verdicts_are_followed() -> None:
    rng = np.random.default_rng(0)
    spurious = np.arange(150) % 50 == 0
    features = (rng.normal(size=(150, 20)) + 4 * spurious[:, None] * (np.arange(20) < 2)).astype(np.float32)
    learner = VerdictLearner(None, 0).fit(SegmentVerdicts(features, 0, np.arange(150) // 5, spurious))
    np.testing.assert_array_equal(learner.p_spurious(features) >= 0.5, spurious)


def test_takes_any_classifier_and_leaves_it_as_it_was() -> None:
    verdicts, truth = known(100, 0.9)
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    learner = VerdictLearner(classifier, 0).fit(verdicts)
    assert ((learner.p_spurious(verdicts.features) >= 0.5) == truth).mean() >= 0.95
    assert not hasattr(classifier[-1], "coef_")


def test_equal_seeds_give_equal_probabilities() -> None:
    verdicts, _ = known(30, 0.8)
    one, other, third = (VerdictLearner(None, seed).fit(verdicts).p_out_of_fold for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()


def test_a_classifier_of_ones_own_is_seeded_unless_it_is() -> None:
    verdicts, _ = known(30, 0.8)

    def p(seed: int, random_state: int | None) -> NDArray[np.float64]:
        forest = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=random_state))
        return VerdictLearner(forest, seed).fit(verdicts).p_out_of_fold

    np.testing.assert_array_equal(p(0, None), p(0, None))
    assert (p(0, None) != p(1, None)).any()
    np.testing.assert_array_equal(p(0, 7), p(1, 7))


@pytest.mark.parametrize("verdict", [True, False])
def test_verdicts_of_one_kind_are_learned_as_such(verdict: bool) -> None:
    verdicts, _ = known(4, 1.0)
    same = SegmentVerdicts(verdicts.features, 0, verdicts.images, np.full(8, verdict))
    learner = VerdictLearner(None, 0).fit(same)
    np.testing.assert_array_equal(learner.p_spurious(verdicts.features), float(verdict))
    assert learner.agreement == 1


def test_one_image_has_nothing_out_of_fold() -> None:
    verdicts, _ = known(1, 1.0)
    learner = VerdictLearner(None, 0).fit(verdicts)
    assert np.isnan(learner.agreement)
    np.testing.assert_array_equal(learner.p_out_of_fold, verdicts.spurious)
    assert len(learner.p_spurious(verdicts.features[:0])) == 0


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"classifier": LogisticRegression},
            TypeError,
            "'classifier' argument must be a scikit-learn classifier",
        ),
        ({"classifier": object()}, TypeError, "'classifier' argument must be a scikit-learn classifier"),
        ({"n_images": 0}, ValueError, "'n_images' argument must be an integer >= 1 or None. Got 0"),
        ({"n_images": True}, ValueError, "'n_images' argument"),
        ({"confidence": 0.4}, ValueError, r"'confidence' argument must lie in \[0.5, 1\]"),
    ],
)
def test_says_what_is_wrong(parameters: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Propagation(**parameters)

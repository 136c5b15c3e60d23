"""The measures: by hand, against other libraries, and inside scikit-learn's model selection."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lvlm_va.critique.types import SegmentVerdict
from lvlm_va.metrics import (
    alignment_score,
    average_group_accuracy,
    group_accuracies,
    right_reasons_accuracy,
    verdict_accuracy,
    wilson_interval,
    worst_group_accuracy,
)

Y_TRUE = [0, 0, 0, 1, 1, 1, 1, 1]
Y_PRED = [0, 0, 1, 1, 1, 1, 0, 1]
GROUPS = ["a", "a", "b", "b", "b", "c", "c", "c"]


@pytest.mark.parametrize("name", ["alignment", "groups", "intervals", "verdicts"])
def test_docstrings_hold(name):
    assert doctest.testmod(importlib.import_module(f"lvlm_va.metrics.{name}")).failed == 0


class TestAlignmentScore:
    def test_by_hand(self):
        attributions = np.zeros((2, 2, 1, 2))
        attributions[0, :, 0, 0], attributions[0, :, 0, 1] = [1.0, -1.0], [-1.0, 1.0]
        attributions[1, 0, 0] = [3.0, -1.0]
        masks = np.array([[[True, False]], [[False, True]]])
        # Channels of opposite sign do not cancel: 1/2 and 1/4 lie on the masks.
        assert alignment_score(attributions, masks) == pytest.approx(1 - (0.5 + 0.25) / 2)

    @pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32])
    def test_numpy_and_torch_agree(self, dtype):
        rng = np.random.default_rng(0)
        attributions = rng.standard_normal((4, 3, 5, 6)).astype(np.float32)
        masks = (rng.random((4, 5, 6)) < 0.3).astype(dtype)
        expected = alignment_score(torch.from_numpy(attributions), torch.from_numpy(masks))
        attributions.flags.writeable = False
        assert alignment_score(attributions, masks) == expected
        assert 0 <= expected <= 1

    def test_images_without_attribution_are_left_out(self):
        attributions = torch.zeros(2, 1, 2, 2)
        attributions[0, 0, 0, 0] = -2.0
        masks = torch.ones(2, 2, 2, dtype=torch.bool)
        assert alignment_score(attributions, masks) == 0.0
        assert np.isnan(alignment_score(attributions[1:], masks[1:]))

    @pytest.mark.parametrize(
        ("attributions", "masks", "message"),
        [
            (
                torch.ones(2, 4, 4),
                torch.ones(2, 4, 4),
                r"shape \(n, C, H, W\).* Got \(2, 4, 4\)",
            ),
            (torch.ones(2, 1, 4, 4), torch.ones(3, 4, 4), r"shape \(2, 4, 4\).* Got \(3, 4, 4\)"),
            (torch.ones(2, 1, 4, 4), torch.full((2, 4, 4), 0.5), r"boolean or hold 0 and 1 only"),
            (
                torch.full((2, 1, 4, 4), torch.nan),
                torch.ones(2, 4, 4),
                r"must be finite",
            ),
        ],
    )
    def test_arguments_are_checked(self, attributions, masks, message):
        with pytest.raises(ValueError, match=message):
            alignment_score(attributions, masks)


class TestWilsonInterval:
    @pytest.mark.parametrize("n", [1, 3, 40])
    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    def test_equals_scipys(self, n, confidence):
        for successes in range(n + 1):
            expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
            assert wilson_interval(successes, n, confidence) == pytest.approx(tuple(expected), abs=1e-12)

    def test_ends_are_exact(self):
        assert wilson_interval(0, 7)[0] == 0.0
        assert wilson_interval(7, 7)[1] == 1.0

    @pytest.mark.parametrize("arguments", [(0, 0), (-1, 3), (4, 3), (1, 3, 1.0), (1, 3, 0.0)])
    def test_arguments_are_checked(self, arguments):
        with pytest.raises(ValueError, match=r"argument must"):
            wilson_interval(*arguments)


class TestGroupAccuracies:
    def test_by_hand(self):
        result = group_accuracies(Y_TRUE, Y_PRED, groups=GROUPS)
        assert result.groups.tolist() == ["a", "b", "c"]
        np.testing.assert_allclose(result.accuracies, [1, 2 / 3, 2 / 3])
        assert result.sizes.tolist() == [2, 3, 3]
        np.testing.assert_allclose(result.intervals[1], wilson_interval(2, 3))
        assert result.worst == pytest.approx(2 / 3)
        assert result.worst_group == "b"
        assert result.average == pytest.approx(7 / 9)
        assert result.overall == pytest.approx(6 / 8)

    def test_prints_as_a_table(self):
        text = str(group_accuracies(torch.tensor(Y_TRUE), Y_PRED, groups=["plaster", *GROUPS[1:]]))
        assert text.splitlines()[0].split() == ["group", "accuracy", "95%", "interval", "images"]
        assert len({line.index("]") for line in text.splitlines()[1:]}) == 1
        assert [line.split()[0] for line in text.splitlines() if line.endswith("worst")] == ["b"]

    def test_worst_and_average(self):
        assert worst_group_accuracy(Y_TRUE, Y_PRED, groups=GROUPS) == pytest.approx(2 / 3)
        assert average_group_accuracy(Y_TRUE, Y_PRED, groups=GROUPS) == pytest.approx(7 / 9)

    def test_average_by_training_shares(self):
        weighted = average_group_accuracy(Y_TRUE, Y_PRED, groups=GROUPS, train_groups=["a", "a", "a", "b"])
        assert weighted == pytest.approx((3 * 1 + 2 / 3) / 4)
        assert average_group_accuracy(Y_TRUE, Y_PRED, groups=GROUPS, train_groups=GROUPS) == pytest.approx(
            6 / 8
        )

    def test_training_groups_must_have_images(self):
        with pytest.raises(ValueError, match=r"'train_groups'.* Got \['d'\] beside them"):
            average_group_accuracy(Y_TRUE, Y_PRED, groups=GROUPS, train_groups=["a", "d"])
        with pytest.raises(ValueError, match=r"'train_groups' argument must hold at least one group"):
            average_group_accuracy(Y_TRUE, Y_PRED, groups=GROUPS, train_groups=[])

    @pytest.mark.parametrize(
        ("y_true", "y_pred", "groups", "message"),
        [
            ([], [], [], r"'y_true' argument must hold at least one label"),
            (Y_TRUE, Y_PRED[:-1], GROUPS, r"'y_pred' argument must have one entry per label .* 8. Got 7"),
            (Y_TRUE, Y_PRED, GROUPS[:-2], r"'groups' argument must have one entry per label .* 8. Got 6"),
            ([[0, 1]], [0, 1], ["a", "b"], r"'y_true' argument must have shape \(n,\). Got \(1, 2\)"),
            ([0, 1], [0, 1], [["a", "b"]] * 2, r"'groups' argument must have shape \(n,\). Got \(2, 2\)"),
        ],
    )
    def test_arguments_are_checked(self, y_true, y_pred, groups, message):
        with pytest.raises(ValueError, match=message):
            group_accuracies(y_true, y_pred, groups=groups)


class TestMetadataRouting:
    @pytest.fixture(autouse=True)
    def routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    @pytest.fixture
    def data(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((60, 3))
        y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
        return X, y, np.where(rng.random(60) < 0.5, "tag", "none")

    @pytest.mark.parametrize("metric", [worst_group_accuracy, average_group_accuracy])
    @pytest.mark.parametrize("pipeline", [False, True])
    def test_cross_val_score_routes_groups(self, data, metric, pipeline):
        X, y, groups = data
        model = make_pipeline(StandardScaler(), LogisticRegression()) if pipeline else LogisticRegression()
        scorer = make_scorer(metric).set_score_request(groups=True)
        scores = cross_val_score(model, X, y, cv=KFold(3), scoring=scorer, params={"groups": groups})
        expected = [
            metric(y[test], model.fit(X[train], y[train]).predict(X[test]), groups=groups[test])
            for train, test in KFold(3).split(X)
        ]
        np.testing.assert_allclose(scores, expected)

    def test_grid_search_routes_groups(self, data):
        X, y, groups = data
        scorer = make_scorer(worst_group_accuracy).set_score_request(groups=True)
        search = GridSearchCV(
            DummyClassifier(strategy="constant"), {"constant": [0, 1]}, cv=KFold(3), scoring=scorer
        )
        search.fit(X, y, groups=groups)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()

    def test_training_shares_bind_beforehand(self, data):
        X, y, groups = data
        scorer = make_scorer(average_group_accuracy, train_groups=groups).set_score_request(groups=True)
        model = LogisticRegression().fit(X, y)
        assert scorer(model, X, y, groups=groups) == pytest.approx(model.score(X, y))


def verdicts(*said: str, image: str = "7") -> list[SegmentVerdict]:
    return [SegmentVerdict(image, j, verdict) for j, verdict in enumerate(said, start=1)]


class TestVerdictAccuracy:
    def test_unsure_costs_coverage_not_accuracy(self):
        truth = verdicts("spurious", "relevant", "relevant", "spurious")
        result = verdict_accuracy(verdicts("spurious", "spurious", "unsure", "spurious"), truth)
        assert (result.n_segments, result.n_decided, result.n_correct) == (4, 3, 2)
        assert result.accuracy == pytest.approx(2 / 3)
        assert result.coverage == 0.75
        assert result.interval == wilson_interval(2, 3)

    def test_a_missing_verdict_costs_coverage(self):
        result = verdict_accuracy(verdicts("spurious"), verdicts("spurious", "relevant"))
        assert (result.accuracy, result.coverage) == (1.0, 0.5)

    def test_nothing_decided(self):
        result = verdict_accuracy(verdicts("unsure"), verdicts("spurious"))
        assert np.isnan(result.accuracy)
        assert result.coverage == 0.0
        assert result.interval == (0.0, 1.0)

    def test_the_same_segment_of_two_images_is_two_segments(self):
        truth = [*verdicts("spurious"), *verdicts("relevant", image="8")]
        assert verdict_accuracy(reversed(truth), iter(truth)).accuracy == 1.0

    @pytest.mark.parametrize(
        ("said", "truth", "message"),
        [
            ([], [], r"'truth' argument must hold at least one verdict"),
            ([], verdicts("unsure"), r"'truth' .* Got 'unsure' for segment 1 of image '7'"),
            (verdicts("spurious", "spurious"), verdicts("spurious"), r"none for segment 2 of image '7'"),
            (verdicts("spurious") * 2, verdicts("spurious"), r"'verdicts' .* segment 1 of image '7' twice"),
            (verdicts("spurious"), verdicts("spurious") * 2, r"'truth' .* segment 1 of image '7' twice"),
        ],
    )
    def test_arguments_are_checked(self, said, truth, message):
        with pytest.raises(ValueError, match=message):
            verdict_accuracy(said, truth)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_text_is_never_compared_with_numbers(labels):
    text, groups = [str(label) for label in labels], ["a"] * len(labels)
    maps, masks = np.ones((len(labels), 1, 2, 2)), np.zeros((len(labels), 2, 2))
    for true, predicted in ((text, labels), (labels, text), (np.array(text, object), labels)):
        with pytest.raises(ValueError, match="'y_true' and 'y_pred' arguments must hold labels of one type"):
            worst_group_accuracy(true, predicted, groups=groups)
        with pytest.raises(ValueError, match="labels of one type"):
            right_reasons_accuracy(true, predicted, attributions=maps, masks=masks)
    assert worst_group_accuracy(text, np.array(text, object), groups=groups) == 1
    assert worst_group_accuracy(labels, [float(label) for label in labels], groups=groups) == 1

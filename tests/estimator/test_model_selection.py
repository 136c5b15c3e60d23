"""The scorer: what it says, where it works, whom it asks. What it prefers stands in docs/how_to/model_selection.md."""

from __future__ import annotations

import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from torch.utils.data import TensorDataset

from lvlm_va import LVLMVAClassifier, RegionCritic, RightReasonsScorer
from lvlm_va.comparison import ERMClassifier
from lvlm_va.metrics import right_reasons_accuracy
from lvlm_va.propagation import Propagation


class CountingCritic(RegionCritic):
    """A critic that counts the images it was asked about."""

    asked: ClassVar[list[str]] = []

    def critique(self, requests):
        self.asked.extend(request.image_id for request in requests)
        return super().critique(requests)


def make(**parameters) -> LVLMVAClassifier:
    defaults = {
        "critic": CountingCritic({"irrelevant": ["left"]}),
        "n_align": 20,
        "n_references": 5,
        "epochs": 2,
        "align_epochs": 1,
        "batch_size": 16,
        "random_state": 0,
    }
    return LVLMVAClassifier("mlp", **{**defaults, **parameters})


@pytest.fixture
def fitted(blobs):
    clf = make().fit(*blobs)
    assert clf.masks_.any()
    CountingCritic.asked.clear()
    return clf


def by_hand(clf, X, y, masks) -> float:
    attributions = clf.explain(X, y).attributions
    return right_reasons_accuracy(y, clf.predict(X), attributions=attributions, masks=masks)


def test_scores_the_critiqued_images_of_a_fold(fitted, blobs):
    X, y = blobs
    scorer = RightReasonsScorer.from_critiqued(fitted, measure="attributions")
    rows, masks = fitted.alignment_set_, fitted.masks_
    assert scorer(fitted, X, y) == pytest.approx(by_hand(fitted, X[rows], y[rows], masks))
    assert scorer(fitted, X[rows[:5]], y[rows[:5]]) == pytest.approx(
        by_hand(fitted, X[rows[:5]], y[rows[:5]], masks[:5])
    )
    assert repr(scorer) == "RightReasonsScorer(20 images)"


def test_asks_the_critic_once_about_each_image_and_nothing_when_it_scores(fitted, blobs):
    X, y = blobs
    scorer = RightReasonsScorer.from_critic(fitted, X, y)
    assert sorted(CountingCritic.asked, key=int) == [str(i) for i in range(60)]
    CountingCritic.asked.clear()
    scorers = [scorer, RightReasonsScorer.from_critiqued(fitted)]
    assert all(0 < each(fitted, X, y) <= 1 for each in scorers)
    assert not CountingCritic.asked


def test_held_out_images_are_judged_by_the_unaligned_module(fitted, blobs):
    X, y = blobs
    held_out = X[::-1][:10] * 0.9
    plain = make(critic=None).fit(X, y)  # the same module, never aligned
    critic = CountingCritic({"irrelevant": ["left"]})
    scorer = RightReasonsScorer.from_critic(fitted, held_out, y[::-1][:10])
    same = RightReasonsScorer.from_critic(plain, held_out, y[::-1][:10], critic=critic)
    for clf in (plain, fitted):
        assert scorer(clf, held_out, y[::-1][:10]) == same(clf, held_out, y[::-1][:10])


def test_critiques_are_kept_and_corrections_count(fitted, blobs, tmp_path):
    X, y = blobs[0][:8], blobs[1][:8]
    kept = {"run_dir": tmp_path / "run", "measure": "attributions"}
    first = RightReasonsScorer.from_critic(fitted, X, y, **kept)
    CountingCritic.asked.clear()
    assert RightReasonsScorer.from_critic(fitted, X, y, **kept)(fitted, X, y) == first(fitted, X, y)
    (path,) = (tmp_path / "run").glob("verdicts-*.json")
    path.write_text(path.read_text().replace('"spurious"', '"relevant"'))
    cleared = RightReasonsScorer.from_critic(fitted, X, y, **kept)
    assert cleared(fitted, X, y) == fitted.score(X, y) > first(fitted, X, y)
    assert not CountingCritic.asked


def test_propagated_masks_are_known_too(blobs):
    X, y = blobs
    propagation = Propagation(DecisionTreeClassifier(max_depth=2))
    clf = make(propagate=propagation).fit(X, y)
    rows, masks = clf.propagated_.indices.numpy(), clf.propagated_.masks.numpy()
    assert len(rows) == 60
    scorer = RightReasonsScorer.from_critiqued(clf, measure="attributions")
    assert scorer(clf, X, y) == pytest.approx(by_hand(clf, X[rows], y[rows], masks))
    assert 0 < RightReasonsScorer.from_critic(clf, X, y, propagate=propagation)(clf, X, y) <= 1


def test_an_image_is_the_same_in_every_form(blobs):
    X, y = (blobs[0] * 255).astype(np.uint8), blobs[1]
    clf = make(image_shape=(1, 8, 8)).fit(X.reshape(60, 64), y)
    scorer = RightReasonsScorer.from_critiqued(clf)
    expected = scorer(clf, X, y)
    for form in (X / 255, np.float32(X) / np.float32(255), X.reshape(60, 64), torch.from_numpy(X)):
        assert scorer(clf, form, y) == pytest.approx(expected, abs=1e-5)
    frame = pd.DataFrame(X.reshape(60, 64).astype(np.uint8), columns=[f"p{i}" for i in range(64)])
    assert RightReasonsScorer(frame, np.zeros((60, 8, 8)))(clf, X, y) == clf.score(X, y)
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    assert scorer(clf, dataset) == pytest.approx(expected)


def test_a_zero_is_a_zero(blobs):
    X, y = blobs[0].copy(), blobs[1]
    X[:, :, 0] = 0
    masks, minus = np.zeros((60, 8, 8)), np.where(X == 0, -0.0, X)
    clf = ERMClassifier("mlp", epochs=1, random_state=0).fit(X, y)
    assert RightReasonsScorer(minus, masks)(clf, X, y) == RightReasonsScorer(X, masks)(clf, X, y)


def test_masks_of_an_image_that_comes_twice_are_joined(fitted, blobs):
    X, y = blobs
    left, right = np.zeros((2, 1, 8, 8), bool)
    left[..., :4], right[..., 4:] = True, True
    scorer = RightReasonsScorer(X[[0, 0]], np.concatenate([left, right]), measure="attributions")
    assert scorer(fitted, X[:1], y[:1]) == 0


def test_a_class_that_was_not_fitted_is_wrong_and_no_error(fitted, blobs):
    X, _ = blobs
    scorer = RightReasonsScorer(X, np.zeros((60, 8, 8)))
    assert scorer(fitted, X, np.full(60, 7)) == 0


def test_inside_scikit_learn(fitted, blobs):
    X, y = blobs
    scorer = pickle.loads(pickle.dumps(RightReasonsScorer.from_critiqued(fitted)))
    assert check_scoring(fitted, scorer) is scorer
    scores = cross_val_score(make(), X, y, scoring=scorer, cv=2)
    search = clone(GridSearchCV(make(), {"lr": [1e-3]}, scoring=scorer, cv=2, refit=False))
    np.testing.assert_allclose(search.fit(X, y).cv_results_["mean_test_score"], [scores.mean()])
    with config_context(enable_metadata_routing=True):
        np.testing.assert_allclose(cross_val_score(make(), X, y, scoring=scorer, cv=2), scores)
    halving = HalvingGridSearchCV(
        make(), {"lr": [1e-3, 1e-2]}, scoring=scorer, cv=2, resource="align_epochs", max_resources=2, factor=2
    )
    assert halving.fit(X, y).best_params_["align_epochs"] == 2


def test_pipelines_and_rivals(blobs):
    X, y = blobs
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), make()).fit(X, y)
    scorer = RightReasonsScorer.from_critiqued(pipeline, X, y, measure="attributions")
    clf, rows = pipeline[-1], pipeline[-1].alignment_set_
    expected = by_hand(clf, np.sqrt(X[rows]), y[rows], clf.masks_)
    assert scorer(pipeline, X, y) == pytest.approx(expected)
    assert 0 < RightReasonsScorer.from_critic(pipeline, X, y)(pipeline, X, y) <= 1
    forwards = RightReasonsScorer.from_critiqued(pipeline, X, y)
    assert 0 < forwards(pipeline, X, y) <= 1
    anybody = LogisticRegression().fit(X.reshape(60, -1), y)
    assert 0 < forwards(anybody, X.reshape(60, -1), y) <= 1
    assert 0 < scorer(ERMClassifier("mlp", epochs=1, random_state=0).fit(X, y), X, y) <= 1
    with pytest.raises(ValueError, match="'X' argument must hold the images that the pipeline was fitted on"):
        RightReasonsScorer.from_critiqued(pipeline)


def test_a_copy_needs_the_training_data(fitted, blobs):
    X, y = blobs
    copy = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="'X' and 'y' arguments must be the training data"):
        RightReasonsScorer.from_critiqued(copy)
    with pytest.raises(ValueError, match="must be those fitted"):
        RightReasonsScorer.from_critiqued(copy, X[::-1], y)
    expected = RightReasonsScorer.from_critiqued(fitted)(fitted, X, y)
    assert RightReasonsScorer.from_critiqued(copy, X, y)(fitted, X, y) == expected


def test_errors(fitted, blobs):
    X, y = blobs
    scorer = RightReasonsScorer.from_critiqued(fitted)
    with pytest.raises(ValueError, match="'X' argument must hold images that were critiqued.* Got 60 others"):
        scorer(fitted, X * 0.5, y)
    with pytest.raises(ValueError, match="'y' argument must hold the labels.* Got None"):
        scorer(fitted, X)
    with pytest.raises(ValueError, match="'measure' argument must be one of .*transplants.* Got 'accuracy'"):
        RightReasonsScorer.from_critiqued(fitted, measure="accuracy")
    scorer = RightReasonsScorer.from_critiqued(fitted, measure="attributions")
    with pytest.raises(
        TypeError, match="'estimator' argument .* LogisticRegression instead, which cannot explain"
    ):
        scorer(LogisticRegression().fit(X.reshape(60, -1), y), X, y)
    with pytest.raises(TypeError, match="must be an LVLMVAClassifier.* Got ERMClassifier"):
        RightReasonsScorer.from_critiqued(ERMClassifier())
    with pytest.raises(NotFittedError):
        RightReasonsScorer.from_critiqued(make(critic=None, epochs=0).fit(X, y))
    with pytest.raises(
        ValueError, match=r"images of shape \(1, 4, 16\), but LVLMVAClassifier was fitted with"
    ):
        RightReasonsScorer.from_critic(fitted, X.reshape(60, 1, 4, 16), y)
    with pytest.raises(ValueError, match="'critic' argument must name who judges"):
        RightReasonsScorer.from_critic(make(critic=None, epochs=0).fit(X, y), X, y)
    with pytest.raises(ValueError, match=r"'masks' argument must be .* \(60, H, W\).* of shape \(2, 8, 8\)"):
        RightReasonsScorer(X, np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="'masks' argument must be boolean or 0/1"):
        RightReasonsScorer(X, np.full((60, 8, 8), 0.5))
    with pytest.raises(ValueError, match=r"images of the masks' size, 4 x 16. Got shape \(60, 1, 8, 8\)"):
        RightReasonsScorer(X, np.zeros((60, 4, 16)))(fitted, X, y)
    with pytest.raises(ValueError, match=r"'masks' argument must have shape \(60, 8, 8\)"):
        RightReasonsScorer(X, np.zeros((60, 4, 16)), measure="attributions")(fitted, X, y)

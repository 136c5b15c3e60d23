"""Learn a critic's verdicts from the segments they are on, and extend them to other segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold

# A few hundred segments are told apart by chance in the hundreds of channels of a feature map, not in this many.
N_DIRECTIONS = 8
N_TREES = 300
# Leaves this large average a noisy critic's verdicts: share of the segments in each, at least.
LEAF_SHARE = 0.01
N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class SegmentVerdicts:
    """Segments that a critic judged, to learn from.

    Attributes
    ----------
    features : ndarray of shape (m, F), float32
        What `segment_features` says of each segment.
    n_activations : int
        How many of the last features are activations of the net.
    images : ndarray of shape (m,), int64
        Which image each segment belongs to.
    spurious : ndarray of shape (m,), bool
        The verdicts; unsure ones are left out.
    """

    features: NDArray[np.float32]
    n_activations: int
    images: NDArray[np.int64]
    spurious: NDArray[np.bool_]


class VerdictLearner:
    """Predicts the probability that a segment is spurious.

    Parameters
    ----------
    classifier : scikit-learn classifier with ``predict_proba``, or None
        A clone of it learns the verdicts. None: a random forest whose leaves are large enough to average out wrong
        verdicts.
    seed : int
        Of the forest.

    Attributes
    ----------
    p_out_of_fold : ndarray of shape (m,), float64
        Probability of each segment that was learned from, by classifiers that saw no segment of its image. The
        verdicts themselves where they are all of one image.
    agreement : float
        Share of those segments on which that and the critic agree; NaN where they are all of one image. Where the
        critic errs at random in a share e of its verdicts, a learner that never errs agrees in 1 - e.
    """

    def __init__(self, classifier: Any, seed: int) -> None:
        self._spec, self._seed = classifier, seed

    def fit(self, known: SegmentVerdicts) -> Self:
        """Learn from a critic's verdicts; all of one kind are learned as such."""
        self._n_activations = known.n_activations
        self._fitted = self._fit(known.features, known.spurious)
        n_images = len(np.unique(known.images))
        self.p_out_of_fold = known.spurious.astype(np.float64)
        self.agreement = np.nan
        if n_images > 1:
            for rest, held_out in GroupKFold(min(N_FOLDS, n_images)).split(
                known.features, groups=known.images
            ):
                fitted = self._fit(known.features[rest], known.spurious[rest])
                self.p_out_of_fold[held_out] = fitted(known.features[held_out])
            self.agreement = float(((self.p_out_of_fold >= 0.5) == known.spurious).mean())
        return self

    def p_spurious(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability that each segment is spurious: shape (m,)."""
        p: NDArray[np.float64] = self._fitted(features)
        return p

    def _fit(self, features: NDArray[np.float32], spurious: NDArray[np.bool_]) -> Any:
        kinds = np.unique(spurious)
        if len(kinds) < 2:
            constant = float(kinds[0])
            return lambda others: np.full(len(others), constant)
        reduce = self._directions(features)
        classifier = self._classifier(len(spurious)).fit(reduce(features), spurious)

        def predict(others: NDArray[np.float32]) -> NDArray[np.float64]:
            if not len(others):
                return np.empty(0)
            p: NDArray[np.float64] = classifier.predict_proba(reduce(others))[:, 1].astype(np.float64)
            return p

        return predict

    def _classifier(self, n: int) -> Any:
        if self._spec is not None:
            return clone(self._spec)
        return RandomForestClassifier(
            N_TREES, min_samples_leaf=max(1, round(LEAF_SHARE * n)), random_state=self._seed
        )

    def _directions(self, features: NDArray[np.float32]) -> Any:
        """Return what replaces the net's activations by their main directions of variation."""
        n_plain = features.shape[1] - self._n_activations
        n_directions = min(N_DIRECTIONS, self._n_activations, len(features) - 1)
        if not n_directions:
            return lambda others: others[:, :n_plain]
        main = PCA(n_directions, svd_solver="full").fit(features[:, n_plain:])
        return lambda others: np.hstack([others[:, :n_plain], main.transform(others[:, n_plain:])])

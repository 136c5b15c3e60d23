"""Learn a critic's verdicts from the segments they are on, and extend them to other segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

# A few hundred segments are told apart by chance in the hundreds of channels of a feature map, not in this many.
N_DIRECTIONS = 8
N_TREES = 100
# Least shares of the segments in a leaf: the noisier the critic, the larger leaves must be to average its verdicts.
LEAF_SHARES = (0.005, 0.01, 0.02, 0.04)
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
        A clone of it learns the verdicts, seeded where its ``random_state`` is None. None: a random forest, its leaves
        as large as agrees best with the critic.
    seed : int
        Of the classifier.

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

    def fit(self, known: SegmentVerdicts, *, out_of_fold: bool = True) -> Self:
        """Learn from a critic's verdicts; all of one kind are learned as such.

        Without `out_of_fold`, which takes about half of the time, `p_out_of_fold` and `agreement` are not there.

        Parameters
        ----------
        known : SegmentVerdicts
            Features and verdicts.
        out_of_fold : bool, default=True
            Whether to judge these segments, too, by classifiers that did not see their images.

        Returns
        -------
        VerdictLearner
            Itself.
        """
        self._n_activations = known.n_activations
        self._classifier = self._choose(known)
        self._fitted = self._fit(known.features, known.spurious)
        if out_of_fold:
            self._judge_out_of_fold(known)
        return self

    def _judge_out_of_fold(self, known: SegmentVerdicts) -> None:
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
        classifier = clone(self._classifier).fit(reduce(features), spurious)

        def predict(others: NDArray[np.float32]) -> NDArray[np.float64]:
            if not len(others):
                return np.empty(0)
            p: NDArray[np.float64] = classifier.predict_proba(reduce(others))[:, 1].astype(np.float64)
            return p

        return predict

    def _choose(self, known: SegmentVerdicts) -> Any:
        """Return the classifier to be cloned: the user's, or the forest that agrees best with the critic out of bag.

        Among equals the one of least log loss, but not that alone: where spurious segments are few, its leaves are so
        large that a noisy critic's verdicts on them drown, and no segment comes out as spurious.
        """
        if self._spec is not None:
            return self._seeded(self._spec)
        kinds, features = np.unique(known.spurious), self._directions(known.features)(known.features)
        sizes = sorted({max(1, round(share * len(features))) for share in LEAF_SHARES})
        forests = [self._forest(size) for size in sizes]
        if len(kinds) < 2:
            return forests[0]

        def merit(forest: RandomForestClassifier) -> tuple[float, float]:
            forest.fit(features, known.spurious)
            return forest.oob_score_, -log_loss(known.spurious, forest.oob_decision_function_)

        return max(forests, key=merit)

    def _seeded(self, classifier: Any) -> Any:
        """Return a clone whose random states are set, where they were not."""
        unset = [
            name
            for name, value in classifier.get_params().items()
            if value is None and name.split("__")[-1] == "random_state"
        ]
        return clone(classifier).set_params(**dict.fromkeys(unset, self._seed))

    def _forest(self, size: int) -> RandomForestClassifier:
        return RandomForestClassifier(N_TREES, min_samples_leaf=size, oob_score=True, random_state=self._seed)

    def _directions(self, features: NDArray[np.float32]) -> Any:
        """Return what replaces the net's activations by their main directions of variation."""
        n_plain = features.shape[1] - self._n_activations
        n_directions = min(N_DIRECTIONS, self._n_activations, len(features) - 1)
        if not n_directions:
            return lambda others: others[:, :n_plain]
        main = PCA(n_directions, svd_solver="full").fit(features[:, n_plain:])
        return lambda others: np.hstack([others[:, :n_plain], main.transform(others[:, n_plain:])])

"""scikit-learn's whole check battery, without an expected failure."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from lvlm_va import LVLMVAClassifier


@parametrize_with_checks([LVLMVAClassifier()])
def test_scikit_learn(estimator, check):
    check(estimator)

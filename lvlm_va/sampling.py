"""Which training images are explained and critiqued: the alignment set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from sklearn.utils import check_random_state

from lvlm_va.common.class_balance import class_balanced_order
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer

__all__ = ["ADAPTIVE", "Sampler", "entropy", "select_alignment_set"]

#: ``(probabilities (n, K), labels (n,), n_align, rng) -> n_align distinct indices``.
Sampler = Callable[[NDArray[np.float64], NDArray[Any], int, np.random.RandomState], ArrayLike]

#: The strategy that needs verdicts on the way, which only the estimator has.
ADAPTIVE: Literal["adaptive"] = "adaptive"

# Probabilities from a softmax in half precision miss 1 by about this much.
_SUM_TOLERANCE = 1e-2


def entropy(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of each row of class probabilities, ``H = -sum_k p_k ln p_k``, in nats.

    Parameters
    ----------
    probabilities : array-like of shape (n, K)
        Class probabilities, >= 0. A probability of 0 adds nothing.

    Returns
    -------
    ndarray of shape (n,), float64
        Entropies in [0, ln K].

    Raises
    ------
    ValueError
        If the shape is another, a probability is negative or not finite, or a row does not sum to 1.

    Examples
    --------
    >>> entropy([[1.0, 0.0], [0.5, 0.5]]).round(3)
    array([0.   , 0.693])
    """
    return np.asarray(entr(_check_probabilities(probabilities)).sum(1), dtype=np.float64)


def select_alignment_set(
    sampler: str | Sampler,
    probabilities: ArrayLike,
    labels: ArrayLike,
    n_align: int,
    *,
    random_state: int | np.random.RandomState | None = None,
) -> NDArray[np.int64]:
    """Choose the training images that are explained and critiqued.

    Which images hold the shortcut depends on the data, so no strategy is best everywhere.

    ``"low_entropy"``
        The most confident predictions, as in LVLM-VA (arXiv 2512.21985): shortcuts are learned first, so
        confident images tend to hold them. Good where a shortcut is rare: in the paper's knee X-rays the tag
        is in 56 % of such a set, 25 % of a random one, 2 % of the least confident.
    ``"high_entropy"``
        The least confident predictions. Good where shortcut and signal compete within an image.
    ``"random"``
        Images without replacement. Good where the shortcut is in every image: on Decoy-MNIST confident images
        rest on the digit rather than on the decoy (share of positive effect on the decoy 8 % against 28 %).
    ``"class_balanced"``
        The most confident predictions of every class, as many of each as possible: ``"low_entropy"`` may choose images
        of one easy, or frequent, class only, and alignment then does the others harm. The default of
        `LVLMVAClassifier`.

    Ties go to the lower index. `LVLMVAClassifier` has one more, ``"adaptive"``, which follows the critic's verdicts and
    so cannot choose here: the critic is asked about a few images, then about those which look like what it judged
    spurious. Good where shortcuts show in some images only, or nothing is known of them.

    Parameters
    ----------
    sampler : {"low_entropy", "high_entropy", "random", "class_balanced"} or callable
        A strategy, or a callable ``(probabilities, labels, n_align, rng)`` that returns `n_align` distinct
        row indices; `rng` is a `numpy.random.RandomState`.
    probabilities : array-like of shape (n, K)
        Predicted class probabilities of the training images.
    labels : array-like of shape (n,)
        Their labels.
    n_align : int
        Number of images, from 1 to n.
    random_state : int, RandomState or None
        Seed of ``"random"`` and of callables.

    Returns
    -------
    ndarray of shape (n_align,), int64
        Row indices, in order of choice.

    Raises
    ------
    TypeError
        If `sampler` is neither a name nor callable, or returns no integers, or `n_align` is no integer.
    ValueError
        If the name is unknown, `n_align` exceeds n, lengths differ, probabilities are none, or a callable
        returns repeated or impossible indices or another number of them.

    Examples
    --------
    >>> probabilities = [[0.9, 0.1], [0.6, 0.4], [0.99, 0.01], [0.3, 0.7]]
    >>> select_alignment_set("low_entropy", probabilities, [0, 0, 0, 1], 2)
    array([2, 0])
    >>> select_alignment_set("class_balanced", probabilities, [0, 0, 0, 1], 2)
    array([2, 3])
    """
    choose = resolve_sampler(sampler)
    probabilities, labels = _check_probabilities(probabilities), np.asarray(labels)
    n = len(probabilities)
    if labels.shape != (n,):
        raise ValueError(
            f"The 'labels' argument must have shape ({n},), one label per row of 'probabilities'. "
            f"Got {labels.shape} instead."
        )
    check_integer("n_align", n_align)
    if not 1 <= n_align <= n:
        raise ValueError(
            f"The 'n_align' argument must lie between 1 and the number of images, {n}. Got {n_align} instead."
        )
    chosen = choose(probabilities, labels, int(n_align), check_random_state(random_state))
    return _check_indices(chosen, n, int(n_align))


def _low_entropy(
    probabilities: NDArray[np.float64], labels: NDArray[Any], n_align: int, rng: np.random.RandomState
) -> NDArray[np.intp]:
    return np.argsort(entropy(probabilities), kind="stable")[:n_align]


def _high_entropy(
    probabilities: NDArray[np.float64], labels: NDArray[Any], n_align: int, rng: np.random.RandomState
) -> NDArray[np.intp]:
    return np.argsort(-entropy(probabilities), kind="stable")[:n_align]


def _random(
    probabilities: NDArray[np.float64], labels: NDArray[Any], n_align: int, rng: np.random.RandomState
) -> NDArray[np.intp]:
    return rng.permutation(len(labels))[:n_align]


def _class_balanced(
    probabilities: NDArray[np.float64], labels: NDArray[Any], n_align: int, rng: np.random.RandomState
) -> NDArray[np.intp]:
    return class_balanced_order(labels, entropy(probabilities))[:n_align]


_SAMPLERS: dict[str, Sampler] = {
    "low_entropy": _low_entropy,
    "high_entropy": _high_entropy,
    "random": _random,
    "class_balanced": _class_balanced,
}


def resolve_sampler(sampler: str | Sampler) -> Sampler:
    """Return the strategy that a name stands for; a callable is returned as it is.

    Parameters
    ----------
    sampler : {"low_entropy", "high_entropy", "random", "class_balanced"} or callable
        As for `select_alignment_set`.

    Returns
    -------
    callable
        ``(probabilities, labels, n_align, rng) -> indices``.

    Raises
    ------
    TypeError
        If `sampler` is neither a name nor callable.
    ValueError
        If the name is unknown.
    """
    if isinstance(sampler, str):
        if sampler == ADAPTIVE:
            raise ValueError(
                "The 'sampler' argument must be a strategy that chooses by probabilities alone. Got 'adaptive' "
                "instead, which follows a critic's verdicts. Give it to LVLMVAClassifier(sampler='adaptive')."
            )
        if sampler not in _SAMPLERS:
            raise unknown_name("sampler", sampler, [*_SAMPLERS, ADAPTIVE])
        return _SAMPLERS[sampler]
    if not callable(sampler):
        raise TypeError(
            "The 'sampler' argument must be a name or a callable (probabilities, labels, n_align, rng). "
            f"Got {type(sampler).__name__} instead."
        )
    return sampler


def _check_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    checked = np.asarray(probabilities, dtype=np.float64)
    if checked.ndim != 2:
        raise ValueError(f"The 'probabilities' argument must have shape (n, K). Got {checked.shape} instead.")
    if not (np.isfinite(checked).all() and (checked >= 0).all()):
        raise ValueError("The 'probabilities' argument must be finite and >= 0. Got other values instead.")
    if not np.allclose(checked.sum(1), 1, rtol=0, atol=_SUM_TOLERANCE):
        raise ValueError(
            "The 'probabilities' argument must hold rows that sum to 1. Got other sums instead. "
            "Apply softmax to logits first."
        )
    return checked


def _check_indices(chosen: ArrayLike, n: int, n_align: int) -> NDArray[np.int64]:
    indices = np.asarray(chosen)
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"The 'sampler' argument must return integer indices. Got {indices.dtype} instead.")
    if indices.shape != (n_align,):
        raise ValueError(
            f"The 'sampler' argument must return {n_align} indices, shape ({n_align},). "
            f"Got shape {indices.shape} instead."
        )
    if indices.min() < 0 or indices.max() >= n:
        raise ValueError(
            f"The 'sampler' argument must return indices from 0 to {n - 1}. "
            f"Got {indices.min()} to {indices.max()} instead."
        )
    if len(np.unique(indices)) < n_align:
        raise ValueError(
            "The 'sampler' argument must return distinct indices. "
            f"Got {len(np.unique(indices))} distinct ones among {n_align} instead."
        )
    return indices.astype(np.int64)

"""Sampling that finds shortcuts: ask about a few images, then about those that look like what was judged spurious.

A round's images are critiqued in portions. Between two of them a classifier learns the verdicts so far, as for
propagation, and foresees them for candidates that nobody was asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvlm_va.common.class_balance import class_balanced_order
from lvlm_va.propagation import SegmentVerdicts, VerdictLearner
from lvlm_va.rounds.segment_finder import SegmentFinder
from lvlm_va.sampling import entropy

# Portions are as large as 1 : 2 : 3 : ..., but the first has at least so many images, of each finding.
N_PORTIONS = 6
FIRST = 10
# Share of a further portion, at least one image, that is chosen as the first one was, for shortcuts that it missed.
EXPLORED = 0.05
# Probability from which an image is likely to hold a spurious segment.
LIKELY = 0.7
# Candidates for each image to be critiqued, and in all.
CANDIDATES_EACH = 5
MOST_CANDIDATES = 2000


@dataclass(frozen=True, eq=False)
class Candidates:
    """Cases that may be critiqued, and their segments.

    Attributes
    ----------
    indices : Tensor of shape (n,), int64
        Cases of the training data, in the order in which they would be explored.
    image_of : Tensor of shape (m,), int64
        Which of these cases each segment belongs to, from 0 to n - 1.
    shares : Tensor of shape (m,), float64
        Share of its image's effect in each segment.
    features : Tensor of shape (m, F), float32
        What `lvlm_va.propagation.segment_features` says of each segment.
    """

    indices: Tensor
    image_of: Tensor
    shares: Tensor
    features: Tensor


def portion_sizes(n_align: int, n_findings: int = 1) -> list[int]:
    """Return how many cases each portion holds: `n_align` in all."""
    steps = np.arange(1, N_PORTIONS + 1)
    first = min(n_align, max(FIRST * n_findings, round(n_align / steps.sum())))
    bounds = first + np.rint((n_align - first) * steps[1:].cumsum() / steps[1:].sum()).astype(int)
    return [first, *(int(size) for size in np.diff([first, *bounds]) if size)]


def n_candidates(n_align: int, n_findings: int = 1) -> int:
    """Return how many cases the later portions are chosen from, of one of several findings."""
    return max(n_align, min(CANDIDATES_EACH * n_align, MOST_CANDIDATES // n_findings))


def exploration_order(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return all positions in the order of exploration: by turns the most confident, and any of each class.

    Confident images tend to hold shortcuts (arXiv 2512.21985), unless the shortcut is in all images or in one class.
    """
    confident = np.argsort(entropy(probabilities), kind="stable")
    anyone = class_balanced_order(labels, rng.random(len(labels)))
    turns = np.stack([anyone, confident], 1).ravel()
    return turns[np.sort(np.unique(turns, return_index=True)[1])]


def find_candidates(finder: SegmentFinder, cases: Tensor) -> Candidates:
    """Explain and segment these cases, some hundred at most."""
    segmentation, features = finder.find(cases)
    exists = ~features[..., 0].isnan()
    return Candidates(cases, exists.nonzero()[:, 0], segmentation.shares[exists], features[exists])


def join_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Return all candidates as one."""
    starts = np.cumsum([0, *(len(part.indices) for part in parts)]).tolist()
    return Candidates(
        torch.cat([part.indices for part in parts]),
        torch.cat([start + part.image_of for start, part in zip(starts, parts, strict=False)]),
        torch.cat([part.shares for part in parts]),
        torch.cat([part.features for part in parts]),
    )


def choose_portion(
    candidates: Candidates,
    free: Tensor,
    labels: Tensor,
    known: SegmentVerdicts | None,
    size: int,
    seed: int,
) -> Tensor:
    """Choose the images in which the largest spurious share is foreseen, and some to explore.

    Parameters
    ----------
    candidates : Candidates
        What to choose from.
    free : Tensor of shape (n,), bool
        Which candidates were not critiqued yet and may be chosen.
    labels : Tensor of shape (n,), int64
        Classes of the candidates. Where images of several classes are likely to hold something spurious, as many are
        chosen of each, while they last.
    known : SegmentVerdicts or None
        Verdicts so far. Without any, or with verdicts of one kind only, images are chosen as the first ones were.
    size : int
        How many to choose.
    seed : int
        Seed of the classifier.

    Returns
    -------
    Tensor of shape (size,), int64
        Cases of the training data.
    """
    left = np.flatnonzero(free.numpy())
    if known is None or len(np.unique(known.spurious)) < 2:
        return candidates.indices[left[:size]]
    n, image_of = len(free), candidates.image_of.numpy()
    learner = VerdictLearner(None, seed % 2**32).fit(known, out_of_fold=False)
    p = learner.p_spurious(candidates.features.numpy())
    foreseen = np.asarray(np.bincount(image_of, candidates.shares.numpy() * p, n), np.float64)
    likely = np.bincount(image_of, p >= LIKELY, n) > 0
    explored, rest = np.split(left, [max(1, round(EXPLORED * size))])
    sure, others = rest[likely[rest]], rest[~likely[rest]]
    best = [
        sure[class_balanced_order(labels.numpy()[sure], -foreseen[sure])],
        others[np.argsort(-foreseen[others], kind="stable")],
    ]
    return candidates.indices[np.concatenate([explored, *best])[:size]]

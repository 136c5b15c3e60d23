"""How verdicts are extended, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lvlm_va.common.validation import check_real, is_integer


@dataclass(frozen=True)
class Propagation:
    """Extend the verdicts on critiqued segments to the segments of other training images, without asking again.

    Where several findings are told of each image, an image with one of them is a case, each finding's verdicts are
    extended to its own cases, and what is said of images below holds of cases.

    Every image is explained and segmented as the critiqued ones were; a classifier that learned the critic's verdicts
    from what segments look like judges them. It also overrules the critic where that errs at random: the critiqued
    segments are judged by classifiers that did not see their images. A person's verdicts stand, and so does
    ``unsure``.

    Parameters
    ----------
    classifier : scikit-learn classifier with ``predict_proba``, default=None
        Learns the verdicts from `lvlm_va.propagation.segment_features`. None: a random forest whose leaves average
        wrong verdicts out.
    n_images : int or None, default=10_000
        Most images in the alignment set, the critiqued ones included; the others are drawn at random. None: all.
        Their masks are held in memory, H x W bytes each.
    confidence : float, default=0.5
        Least probability, in [0.5, 1], of being spurious at which a segment is masked; more abstains more.
    consensus : "auto" or bool, default="auto"
        Whether to mask, in every image, also where critiqued images were judged spurious: a net relies on a shortcut
        in images where that has no positive effect, too, and no segment shows it there. "auto": if the verdicts
        say that the shortcut stays in its place; see `lvlm_va.propagation.Consensus`. Not where a person, or an
        ``unsure`` verdict, says otherwise.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range.
    """

    classifier: Any = None
    n_images: int | None = 10_000
    confidence: float = 0.5
    consensus: bool | str = "auto"

    def __post_init__(self) -> None:
        if self.classifier is not None and (
            isinstance(self.classifier, type) or not hasattr(self.classifier, "predict_proba")
        ):
            raise TypeError(
                "The 'classifier' argument must be a scikit-learn classifier with predict_proba, or None. Got "
                f"{self.classifier!r} instead."
            )
        if self.n_images is not None and not is_integer(self.n_images, 1):
            raise ValueError(
                f"The 'n_images' argument must be an integer >= 1 or None. Got {self.n_images!r} instead."
            )
        check_real("confidence", self.confidence, "[0.5, 1]")
        if not isinstance(self.consensus, bool) and self.consensus != "auto":
            raise ValueError(
                f"The 'consensus' argument must be 'auto', True or False. Got {self.consensus!r} instead."
            )


@dataclass(frozen=True, eq=False)
class Propagated:
    """Verdicts on the segments of many images.

    Attributes
    ----------
    indices : Tensor of shape (a,), int64
        Cases of the training data (rows of it where labels are classes), the critiqued ones first.
    p_spurious : Tensor of shape (a, J), float64
        Probability that each segment is spurious: 0 or 1 where a person judged, NaN where a critiqued segment was left
        unsure, and past an image's number of segments.
    masks : Tensor of shape (a, H, W), bool
        True where a segment is taken to be spurious, or a consensus says so.
    consensus : Tensor of shape (H, W), or (K, H, W) for K findings, bool
        Where every image is masked, or every case of each finding; nowhere without a consensus.
    coverage : Tensor, scalar, or of shape (K,), float64
        Share of an image's spurious effect that the others' consensus foretells; see `lvlm_va.propagation.Consensus`.
    agreement : Tensor, scalar, float64
        Share of the critic's verdicts that classifiers agree with which did not see their images. See
        `lvlm_va.propagation.VerdictLearner`.
    """

    indices: Tensor
    p_spurious: Tensor
    masks: Tensor
    consensus: Tensor
    coverage: Tensor
    agreement: Tensor


def resolve_propagation(spec: bool | int | Propagation) -> Propagation | None:
    """Return how verdicts are extended: not at all (False), as usual (True), to so many images, or as it says.

    Parameters
    ----------
    spec : bool, int or Propagation
        As above.

    Returns
    -------
    Propagation or None
        None for not at all.
    """
    if isinstance(spec, bool | np.bool_):
        return Propagation() if spec else None
    return spec if isinstance(spec, Propagation) else Propagation(n_images=int(spec))

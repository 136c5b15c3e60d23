"""How much of what speaks for the true class is spurious, and how often a classifier is right without that."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvlm_va.metrics.labels import check_one_type
from lvlm_va.metrics.maps import check_maps
from lvlm_va.segmentation import positive_effect, shares_of_effect


def spurious_share(attributions: Tensor | ArrayLike, masks: Tensor | ArrayLike) -> float:
    """Return the mean share of positive effect that lies in spurious pixels.

    ``mean_n sum_i A_ni Phi+_ni / sum_i Phi+_ni``, with the positive effect ``Phi+`` of each pixel: the sum over
    channels of its attributions, or 0. Not for choosing between classifiers: a constant one, and one that is
    wrong everywhere, may have a share of 0. See `right_reasons_accuracy`.

    Parameters
    ----------
    attributions : Tensor or array-like of shape (n, C, H, W), floating
        Finite attributions, n >= 1.
    masks : Tensor or array-like of shape (n, H, W)
        Boolean or 0/1: 1 where a pixel is spurious, or was judged so.

    Returns
    -------
    float
        In [0, 1]; 0 is best. An image without positive effect has a share of 0.

    Raises
    ------
    TypeError
        If attributions are not floating.
    ValueError
        If there are no images, shapes do not fit, attributions are not finite, or masks hold other values than 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> attributions = np.array([[[[1.0, -2.0], [3.0, 0.0]]]])
    >>> masks = np.array([[[True, True], [False, False]]])
    >>> spurious_share(attributions, masks)
    0.25
    """
    return float(_spurious_shares(attributions, masks).mean())


def right_reasons_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    attributions: Tensor | ArrayLike,
    masks: Tensor | ArrayLike,
) -> float:
    """Return the accuracy, less what is right for the wrong reasons.

    ``mean_n [y_n = yhat_n] (1 - s_n)`` with the spurious share ``s_n = sum_i A_ni Phi+_ni / sum_i Phi+_ni`` of the
    image's positive effect: a point for each image that is right, less the share of its positive effect that lies
    in spurious pixels. It needs no group labels, and it tells an aligned classifier from one that lives off a
    shortcut where accuracy cannot: on images in which the shortcut still agrees with the class. The share alone
    would be best for a classifier that looks at nothing; that one is right only by chance, and scores so here.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        True and predicted labels, n >= 1.
    attributions : Tensor or array-like of shape (n, C, H, W), floating
        Finite attributions of the true labels' logits.
    masks : Tensor or array-like of shape (n, H, W)
        Boolean or 0/1: 1 where a pixel is spurious, or was judged so.

    Returns
    -------
    float
        In [0, 1]; at most the accuracy, which it equals where no positive effect is spurious.

    Raises
    ------
    TypeError
        If attributions are not floating.
    ValueError
        If there are no images, shapes do not fit, attributions are not finite, or masks hold other values than 0 and 1.

    Examples
    --------
    The second image is right half for the wrong reasons, the third is wrong:

    >>> import numpy as np
    >>> attributions = np.ones((3, 1, 1, 2))
    >>> masks = np.array([[[0, 0]], [[0, 1]], [[0, 0]]])
    >>> right_reasons_accuracy([0, 1, 1], [0, 1, 0], attributions=attributions, masks=masks)
    0.5
    """
    return float(right_reasons_points(y_true, y_pred, attributions=attributions, masks=masks).mean())


def right_reasons_points(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    attributions: Tensor | ArrayLike,
    masks: Tensor | ArrayLike,
) -> NDArray[np.float64]:
    """Return the points (n,) of each image, whose mean is `right_reasons_accuracy`; parameters as there."""
    shares = _spurious_shares(attributions, masks)
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    for name, labels in (("y_true", true), ("y_pred", predicted)):
        if labels.shape != shares.shape:
            raise ValueError(
                f"The {name!r} argument must have shape {shares.shape}, one label per image in 'attributions'. "
                f"Got {labels.shape} instead."
            )
    check_one_type(true, predicted)
    return np.asarray((true == predicted) * (1 - shares))


def _spurious_shares(attributions: Tensor | ArrayLike, masks: Tensor | ArrayLike) -> NDArray[np.float64]:
    phi, mask = check_maps(attributions, masks)
    if not len(phi):
        raise ValueError("The 'attributions' argument must hold at least one image. Got none instead.")
    shares = shares_of_effect(positive_effect(phi))
    # Divided by their sum, which is 1 up to rounding: a mask that covers all leaves exactly nothing.
    total = shares.sum((1, 2))
    spurious = (shares * mask).sum((1, 2)) / total.where(total > 0, 1)
    return np.asarray(spurious.clamp_max(1).cpu().numpy(), dtype=np.float64)

"""Accuracy on images that got other classes' spurious pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvlm_va.common.randomness import derive_seed
from lvlm_va.interventions.transplants import draw_partners, transplanted


def transplant_accuracy(
    predict: Callable[[Tensor], ArrayLike],
    images: Tensor,
    labels: ArrayLike,
    donors: Tensor,
    masks: Tensor,
    *,
    n_each: int = 5,
    seed: int = 0,
) -> float:
    """Return how often predictions are right when each image has the spurious pixels of images of other classes.

    Without group labels it foretells the accuracy on images in which the shortcut tells nothing, or the wrong class: in
    the images at hand it agrees with the class, and here with another one.

    Parameters
    ----------
    predict : callable
        Labels (m,) of images (m, C, H, W).
    images : Tensor of shape (n, C, H, W), floating
        Images, n >= 1.
    labels : array-like of shape (n,)
        Their true labels.
    donors : Tensor of shape (a,), int64
        Rows of the images that have masks.
    masks : Tensor of shape (a, H, W), bool
        What is spurious in these.
    n_each : int, default=5
        Donors that each image gets pixels from, one at a time. Without one of another class it stays as it is.
    seed : int, default=0
        Of the donors.

    Returns
    -------
    float
        In [0, 1]; the accuracy where nothing is spurious.
    """
    true = np.asarray(labels)
    codes = torch.from_numpy(np.unique(true, return_inverse=True)[1].reshape(-1))
    marked = masks.flatten(1).any(1)
    donors, masks = donors[marked], masks[marked]
    generator = torch.Generator().manual_seed(derive_seed(seed, 0))
    partners = draw_partners(codes, codes[donors], n_each, generator)
    alone = partners[:, 0] < 0
    points: NDArray[np.float64] = np.zeros(len(true))
    for partner in partners.T:
        changed = images.clone()
        given = partner[~alone]
        changed[~alone] = transplanted(images[~alone], images[donors[given]], masks[given])
        points += np.asarray(predict(changed)) == true
    return float(points.mean() / n_each)

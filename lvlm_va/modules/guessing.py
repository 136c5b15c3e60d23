"""Whether a trained net says anything of these images at all."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from lvlm_va.common.warnings import warn

# Standard errors by which a net must be better than guessing.
_BEYOND_NOISE = 2.0


def warn_of_guessing(truth: Tensor, predicted: Tensor, n_classes: int, what: str = "") -> None:
    """Warn of a trained classifier that is no more right than one that says the same of every image, or guesses.

    Each class counts alike, so that a net which finds a rare class is not blamed for missing some of a frequent one.

    Parameters
    ----------
    truth, predicted : Tensor of shape (n,), int64
        Class numbers of training images; every class is among them.
    n_classes : int
        How many there are.
    what : str, default=""
        What is told of the images, in words.
    """
    true, said = truth.numpy(), predicted.numpy()
    recalls = np.array([(said[true == k] == k).mean() for k in range(n_classes)])
    # Of guesses that name each class as often as these do, whatever the image.
    named = np.bincount(said, minlength=n_classes) / len(said)
    variances = named * (1 - named) / np.bincount(true, minlength=n_classes)
    right, chance = float(recalls.mean()), 1 / n_classes
    if right < 1 and right - chance <= _BEYOND_NOISE * math.sqrt(variances.sum()) / n_classes:
        warn(
            "The 'module' argument should be a trained classifier of these images where epochs=0, which takes it as it "
            f"is. Got one that is right on {right:.0%} of {what}{len(true)} training images, each class counted alike; "
            f"a guess is on {chance:.0%}. What it looks at would say little. Usual causes: images normalised otherwise "
            "than in its training (say how with 'preprocess', --mean and --std), channels in the order BGR, logits in "
            "another order than the classes ('classes'), weights that were never loaded."
        )

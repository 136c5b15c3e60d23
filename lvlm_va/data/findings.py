"""Labels of several findings per image: how they are read, and what is said of each finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Between the name of an image and that of the finding; no finding's name holds it.
SEPARATOR = " | "


def is_multilabel(task: str, shape: Sequence[int]) -> bool:
    """Return whether y of this shape holds several findings of each image, or is asked to; "auto" goes by y itself."""
    return len(shape) == 2 and shape[1] > 1 if task == "auto" else task == "multilabel"


def encode_findings(y: Any, n_findings: int | None = None, *, argument: str = "y") -> NDArray[np.int64]:
    """Return whether each finding is present in each image.

    Parameters
    ----------
    y : array-like of shape (n, K)
        0 or 1, or bool.
    n_findings : int, default=None
        K; None takes any from two on.
    argument : str, default="y"
        Name of the argument, for the errors.

    Returns
    -------
    ndarray of shape (n, K), int64
        0 and 1.

    Raises
    ------
    ValueError
        If it is of another shape, or holds something else.
    """
    values = np.asarray(y)
    wanted = "n_findings" if n_findings is None else str(n_findings)
    expected = f"The {argument!r} argument must be of shape (n, {wanted}) for several findings per image, of 0 and 1."
    if values.ndim != 2 or (n_findings is not None and values.shape[1] != n_findings):
        raise ValueError(f"{expected} Got shape {values.shape} instead.")
    if values.shape[1] < 2:
        raise ValueError(
            f"{expected} Got shape {values.shape} instead, one finding: pass its column, y[:, 0], with task='binary'."
        )
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        found = values.ravel().tolist()
        odd = next(
            (value for value in found if not isinstance(value, (int, float)) or value not in (0, 1)), None
        )
        raise ValueError(f"{expected} Got {odd!r} among them.")
    return values.astype(np.int64)


def refuse_one_hot(y: NDArray[np.int64]) -> None:
    """Raise ValueError where each row of y (n, K) has exactly one 1, as classes written as columns have."""
    if bool((y.sum(1) == 1).all()):
        raise ValueError(
            "The 'y' argument must be of shape (n,) for classes that exclude each other. Got exactly one 1 in each row "
            f"of shape {y.shape}: pass y.argmax(1), or task='multilabel' if these are findings all the same."
        )


def finding_names(classes: Sequence[Any] | NDArray[Any] | None, n_findings: int) -> NDArray[Any]:
    """Return the names of the findings: those given, or their numbers.

    Raises
    ------
    ValueError
        If there are not as many, one comes twice, or one holds what stands between an image's and a finding's name.
    """
    if classes is None:
        return np.arange(n_findings)
    if isinstance(classes, str):
        raise ValueError(f"The 'classes' argument must be a list of names. Got the text {classes!r} instead.")
    names = np.asarray(classes)
    texts = [str(name) for name in names.tolist()]
    outcomes = outcome_names(tuple(texts))
    if names.ndim != 1 or len(texts) != n_findings or len(set(outcomes)) < len(outcomes):
        raise ValueError(
            f"The 'classes' argument must name each of the {n_findings} findings once, in the order of the columns of "
            f"y. Got {texts} instead."
        )
    if any(SEPARATOR in text for text in texts):
        raise ValueError(
            f"The 'classes' argument must hold names without {SEPARATOR!r}. Got {texts} instead."
        )
    return names


def outcome_names(findings: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of all outcomes: that each finding is absent (number 2k), and present (2k + 1).

    >>> outcome_names(("fracture", "effusion"))
    ('no fracture', 'fracture', 'no effusion', 'effusion')
    """
    return tuple(name for finding in findings for name in (f"no {finding}", finding))


def outcomes_of(labels: Tensor, findings: Tensor | None) -> Tensor:
    """Return the outcome (n,) that each row's label says of its finding.

    Parameters
    ----------
    labels : Tensor of shape (n,) or (n, K), int64
        Classes, which are their own outcomes; or whether each finding is present.
    findings : Tensor of shape (n,), int64, or None
        Which finding of each row is meant; None for classes.
    """
    return labels if findings is None else 2 * findings + labels.gather(1, findings[:, None])[:, 0]


def describe_outcomes(specifications: dict[str, str], findings: tuple[str, ...]) -> dict[str, str]:
    """Return descriptions of findings as descriptions of their outcomes; one of an outcome itself stays.

    >>> describe_outcomes({"fracture": "The bone counts."}, ("fracture", "effusion"))
    {'no fracture': 'The bone counts.', 'fracture': 'The bone counts.'}
    """
    found: dict[str, str] = {}
    for finding in findings:
        if finding in specifications:
            found |= {f"no {finding}": specifications[finding], finding: specifications[finding]}
    return found | specifications


def label_codes(labels: Tensor) -> Tensor:
    """Return one number (n,) for each row of labels (n,) or (n, K), the same for the same labels."""
    return labels if labels.ndim == 1 else torch.unique(labels, dim=0, return_inverse=True)[1]

"""Which class each logit stands for: a trained net knows, sorted labels do not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from lvlm_va.common.class_balance import class_balanced_order
from lvlm_va.common.errors import numbered
from lvlm_va.common.warnings import warn
from lvlm_va.data.findings import label_codes
from lvlm_va.data.stored_images import subset
from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.guessing import warn_of_guessing
from lvlm_va.modules.heads import decisions
from lvlm_va.modules.logits import predict_logits

# Images that show whether another order fits a trained net better; of many classes, so many of each.
_MOST_IMAGES, _MOST_EACH = 1000, 20
# How many standard errors the accuracy must rise by.
_BEYOND_NOISE = 4.0
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_DEFAULT_NAME = re.compile(r"LABEL_\d+")


def sort_classes(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the different labels (K,), sorted: numbers as numbers, also where they are written as text.

    >>> sort_classes(np.array(["10", "9", "1"])).tolist()
    ['1', '9', '10']
    """
    found = np.unique(labels)
    names = found.tolist()
    if all(isinstance(name, str) and _NUMBER.fullmatch(name) for name in names):
        found = found[np.argsort([float(name) for name in names], kind="stable")]
    return found


def given_order(found: NDArray[Any], classes: Iterable[Any]) -> NDArray[Any]:
    """Return the classes in y in the order that the user gave.

    Parameters
    ----------
    found : ndarray of shape (K,)
        The different labels in y.
    classes : iterable of length K
        All of them, in the order of the logits.

    Raises
    ------
    ValueError
        If a class is missing, unknown or named twice.
    """
    if isinstance(classes, str):
        raise ValueError(
            f"The 'classes' argument must be a list of labels. Got the text {classes!r} instead."
        )
    given = [_plain(label) for label in classes]
    place = {label: i for i, label in enumerate(found.tolist())}
    faults = (
        ("twice", [label for label, count in Counter(given).items() if count > 1]),
        ("though y has no image of them", [label for label in given if label not in place]),
    )
    wanted = (
        "The 'classes' argument must hold each label in y once, in the order of the module's logits: "
        f"{_listed(place)}, of type {type(found.tolist()[0]).__name__}."
    )
    for fault, labels in faults:
        if labels:
            raise ValueError(f"{wanted} Got {_listed(labels)} {fault}.")
    missing = [label for label in place if label not in given]
    if missing:
        raise ValueError(f"{wanted} Got no {_listed(missing)}.")
    return found[[place[label] for label in given]]


def order_of_checkpoint(module: nn.Module, found: NDArray[Any], *, trained: bool) -> NDArray[Any]:
    """Return the classes in the order of a transformers checkpoint's ``id2label``; as they are where it has none.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier, or one around a transformers model.
    found : ndarray of shape (K,)
        The different labels in y, sorted.
    trained : bool
        Whether the module is taken as it is, so that names which do not fit must be told of.
    """
    names = names_in(module)
    place = {str(label): i for i, label in enumerate(found.tolist())}
    if names is None or list(place) == [str(i) for i in range(len(names))]:
        return found  # numbers already say which logit is meant
    if sorted(names) == sorted(place):
        return found[[place[name] for name in names]]
    if trained:
        warn(
            f"The module's config.id2label names its classes {_listed(names)}, and the labels in y are "
            f"{_listed(place)}. Which is which is not known, so the logits are taken to be in the order of the latter; "
            "say otherwise with 'classes', a list of y's labels in the order of the logits."
        )
    return found


def check_class_order(
    module: nn.Module, data: TrainingData, classes: NDArray[Any], *, given: bool, batch_size: int
) -> None:
    """Tell of a trained classifier that would be right more often if its logits stood for other classes, or guesses.

    The order is found on one half of a class-balanced sample of the training images, and holds if on the other half
    the mean accuracy of the classes that change places rises by more than four standard errors.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    data : TrainingData
        What it was trained on.
    classes : ndarray of shape (K,)
        The classes, as the logits are read.
    given : bool
        Whether the user gave this order: a warning must do then.
    batch_size : int
        Images per forward pass.

    Raises
    ------
    ValueError
        If there is a better order, unless the user gave this one; names it.

    Warns
    -----
    UserWarning
        If the user gave an order and there is a better one, or if the classifier is not better than guessing.
    """
    n_most = max(_MOST_IMAGES, _MOST_EACH * len(classes))
    draws = np.random.default_rng(0).random(len(data.labels))
    rows = torch.from_numpy(class_balanced_order(label_codes(data.labels).numpy(), draws)[:n_most])
    with numbered(rows.tolist()):
        logits = predict_logits(module, subset(data.images, rows), batch_size=batch_size)
    truth, predicted = data.labels[rows], decisions(logits, multilabel=data.multilabel)
    if data.multilabel or logits.shape[1] == 1:
        _warn_of_sigmoid(logits)
    if data.multilabel:
        _check_findings(truth, predicted, data.findings)
        return
    found = better_order(truth, predicted, len(classes))
    if found is None:
        warn_of_guessing(truth, predicted, len(classes))
        return
    order, before, after = found
    message = (
        "The order of the classes does not fit the trained module: of the training images whose classes are in "
        f"question it gets {before:.0%} right with {_listed(classes.tolist())}, and would get {after:.0%} right with "
        f"classes={_listed(classes[order].tolist())}."
    )
    if not given:
        raise ValueError(
            f"{message} Pass 'classes' (on the command line --classes) in that order, if it is the order of its "
            "logits; or in the present one, to keep it. A module that is yet to be trained needs epochs > 0."
        )
    warn(message)


def _check_findings(truth: Tensor, present: Tensor, findings: Sequence[str]) -> None:
    """Do the same for each finding of which there are images with and without; arguments of shape (n, K)."""
    for k, name in enumerate(findings):
        if len(truth[:, k].unique()) < 2:
            continue
        found = better_order(truth[:, k], present[:, k], 2)
        if found is not None:
            raise ValueError(
                f"The logit of finding {name!r} does not fit the trained module: of the training images it gets "
                f"{found[1]:.0%} right, and would get {found[2]:.0%} right with the other sign. Look for columns of y "
                "in another order than the logits, and for 0 and 1 that mean the opposite. A module that is yet to be "
                "trained needs epochs > 0."
            )
        warn_of_guessing(truth[:, k], present[:, k], 2, f"finding {name!r} in ")


def _warn_of_sigmoid(logits: Tensor) -> None:
    """Warn of logits (n, K) that look like probabilities: none would ever say that a finding is absent."""
    if bool((logits >= 0).all() & (logits <= 1).all()):
        warn(
            "The 'module' argument must return logits, and its outputs look like probabilities: all lie in [0, 1]. The "
            "loss and the predictions take a sigmoid of them once more. Leave out its last sigmoid."
        )


def better_order(
    truth: Tensor, predicted: Tensor, n_classes: int
) -> tuple[NDArray[np.int64], float, float] | None:
    """Return the order of classes that predictions speak for, if they do so beyond noise.

    Parameters
    ----------
    truth, predicted : Tensor of shape (n,), int64
        Class numbers.
    n_classes : int
        How many there are.

    Returns
    -------
    order : ndarray of shape (n_classes,), int64
        The class that each logit should stand for.
    before, after : float
        Accuracy of the classes that change places, their mean, as it is and in that order.
    """
    true, said = truth.numpy(), predicted.numpy()
    turn = np.zeros(len(true), np.int64)  # every class has its images in both halves
    for k in range(n_classes):
        own = np.flatnonzero(true == k)
        turn[own] = np.arange(len(own)) % 2
    half = turn == 0
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, (true[half], said[half]), 1)
    recalls = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    # Of orders that are equally good, the one at hand.
    logit_of = linear_sum_assignment(recalls + 1e-9 * np.eye(n_classes), maximize=True)[1]
    moved = np.flatnonzero(logit_of != np.arange(n_classes))
    before, after, gains, variances = [], [], [], []
    for k in moved.tolist():
        own = said[~half & (true == k)]
        if len(own):
            before.append(float((own == k).mean()))
            after.append(float((own == logit_of[k]).mean()))
            gains.append(after[-1] - before[-1])
            # Never nothing: a few images that agree prove little.
            variances.append((after[-1] + before[-1] - gains[-1] ** 2 + 1 / len(own)) / len(own))
    if not gains or np.mean(gains) <= _BEYOND_NOISE * math.sqrt(sum(variances)) / len(gains):
        return None
    order = np.empty(n_classes, np.int64)
    order[logit_of] = np.arange(n_classes)
    return order, float(np.mean(before)), float(np.mean(after))


def names_in(module: nn.Module) -> list[str] | None:
    """Return the names of the logits in the configuration of a transformers model, unless they are the defaults."""
    for part in module.modules():
        named = getattr(getattr(part, "config", None), "id2label", None)
        if isinstance(named, dict) and named:
            names = [str(named[key]) for key in sorted(named, key=int)]
            return None if all(_DEFAULT_NAME.fullmatch(name) for name in names) else names
    return None


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _listed(labels: Iterable[Any]) -> str:
    listed: Sequence[Any] = list(labels)
    return (
        repr(listed)
        if len(listed) <= 20
        else f"[{', '.join(map(repr, listed[:20]))}, ... {len(listed)} in all]"
    )

"""The methods of the main table, each from a task's training data to a module."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lvlm_va.comparison import RIVALS
from lvlm_va.critique import OracleCritic
from lvlm_va.datasets import DecoyData
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.tasks import Task


@dataclass(frozen=True, eq=False)
class Fitted:
    """A method's result.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier.
    n_critiqued : int
        Images that a critic, or an annotator of masks or groups, had to look at.
    seconds : float
        Wall-clock seconds of training, the shared first training included where it is built upon.
    """

    module: nn.Module
    n_critiqued: int
    seconds: float


# (task, training data, the net of plain training, seed) -> result
Method = Callable[[Task, DecoyData, Fitted, int], Fitted]

# Methods that go on from the plainly trained net.
_FINE_TUNED = frozenset(("ground_truth_rrr", "dfr"))


def plain_training(task: Task, data: DecoyData, seed: int) -> Fitted:
    """Return the net that every method is compared with, and that some start from."""
    start = time.perf_counter()
    erm = RIVALS["erm"](**_parameters(task), random_state=seed).fit(data.images, data.labels)
    return Fitted(erm.module_, 0, time.perf_counter() - start)


def _lvlm_va(verdict_accuracy: float, propagate: bool) -> Method:
    def run(task: Task, data: DecoyData, erm: Fitted, seed: int) -> Fitted:
        start = time.perf_counter()
        parameters = _parameters(task) | {"module": erm.module, "epochs": 0}
        classifier = LVLMVAClassifier(
            **parameters,
            align_epochs=task.settings.align_epochs,
            critic=OracleCritic(data.masks, verdict_accuracy, seed),
            sampler="random",
            n_align=task.n_align,
            propagate=propagate and task.propagate,
            random_state=seed,
        ).fit(data.images, data.labels)
        return Fitted(classifier.module_, task.n_align, erm.seconds + time.perf_counter() - start)

    return run


def _rival(name: str) -> Method:
    kind = RIVALS[name]

    def run(task: Task, data: DecoyData, erm: Fitted, seed: int) -> Fitted:
        start = time.perf_counter()
        parameters = _parameters(task)
        if name in _FINE_TUNED:
            parameters |= {"module": erm.module, "epochs": 0}
        if name == "ground_truth_rrr":
            parameters["align_epochs"] = task.settings.align_epochs
        given: dict[str, Any] = {}
        if kind.needs_groups:
            given["groups"] = data.groups
        if kind.needs_masks:
            given["masks"] = data.masks
        rival = kind(**parameters, random_state=seed).fit(data.images, data.labels, **given)
        seconds = time.perf_counter() - start + (erm.seconds if name in _FINE_TUNED else 0)
        return Fitted(rival.module_, len(data.labels) if given else 0, seconds)

    return run


def _erm(task: Task, data: DecoyData, erm: Fitted, seed: int) -> Fitted:
    return erm


METHODS: dict[str, Method] = {
    "erm": _erm,
    "lvlm_va": _lvlm_va(1.0, propagate=False),
    "lvlm_va_propagated": _lvlm_va(1.0, propagate=True),
    "lvlm_va_propagated_70": _lvlm_va(0.7, propagate=True),
    **{name: _rival(name) for name in RIVALS if name != "erm"},
}


def _parameters(task: Task) -> dict[str, Any]:
    parameters = asdict(task.settings)
    del parameters["align_epochs"]
    return parameters

"""The methods that experiments compare, each from a task's training data to a module."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from lvlm_va.alignment import Augmentation
from lvlm_va.comparison import RIVALS
from lvlm_va.critique import Critic
from lvlm_va.datasets import DecoyData
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.critics import critic_maker
from lvlm_va.experiments.findings import measure_findings
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
    findings : mapping of str to float
        What the method found out on its way; see `lvlm_va.experiments.findings`.
    """

    module: nn.Module
    n_critiqued: int
    seconds: float
    findings: Mapping[str, float] = field(default_factory=dict)


# (task, training data, the net of plain training, seed) -> result
Method = Callable[[Task, DecoyData, Fitted, int], Fitted]

# Methods that go on from the plainly trained net.
_FINE_TUNED = frozenset(("ground_truth_rrr", "dfr"))


def plain_training(task: Task, data: DecoyData, seed: int) -> Fitted:
    """Return the net that every method is compared with, and that some start from."""
    start, seed = time.perf_counter(), seed if task.start_seed is None else task.start_seed
    erm = RIVALS["erm"](**_parameters(task), random_state=seed).fit(data.images, data.labels)
    return Fitted(erm.module_, 0, time.perf_counter() - start)


def erm(task: Task, data: DecoyData, plain: Fitted, seed: int) -> Fitted:
    """Return the plainly trained net."""
    return plain


def lvlm_va(
    *,
    critic: str = "oracle",
    verdict_accuracy: float = 1.0,
    propagate: bool = False,
    runs: Path | None = None,
    **changes: Any,
) -> Method:
    """Return LVLM-VA, with a critic that knows the true masks unless another is named.

    Parameters
    ----------
    critic, verdict_accuracy
        As in `lvlm_va.experiments.critics.critic_maker`.
    propagate : bool, default=False
        Whether verdicts are extended, to as many images as the task says.
    runs : Path or None, default=None
        Folder that gets a run directory for each seed.
    **changes
        Parameters of `LVLMVAClassifier` other than the task's.

    Returns
    -------
    callable
        The method.

    Raises
    ------
    ValueError
        If there is no such critic, or it cannot err as told.
    """
    make_critic = critic_maker(critic, verdict_accuracy)

    def run(task: Task, data: DecoyData, erm: Fitted, seed: int) -> Fitted:
        run_dir = runs and runs / f"seed-{seed}"
        chosen = {"propagate": propagate, "run_dir": run_dir, **changes}
        return align(task, data, erm, seed, make_critic(data, seed), **chosen)

    return run


def augmented(augment: Augmentation) -> Method:
    """Return LVLM-VA with a critic that knows the true masks, trained and aligned on images changed at random."""

    def run(task: Task, data: DecoyData, erm: Fitted, seed: int) -> Fitted:
        trained = {"module": task.settings.module, "epochs": task.settings.epochs, "augment": augment}
        return align(
            task, data, erm, seed, critic_maker("oracle", 1.0)(data, seed), propagate=False, **trained
        )

    return run


def align(
    task: Task, data: DecoyData, erm: Fitted, seed: int, critic: Critic, *, propagate: bool, **changes: Any
) -> Fitted:
    """Return the plainly trained net as LVLM-VA aligns it; the arguments are those of `lvlm_va`."""
    start = time.perf_counter()
    parameters = estimator_parameters(task) | {"module": erm.module, "epochs": 0}
    parameters |= {"propagate": (propagate and task.propagate) or False, **changes}
    parameters["n_align"] = min(parameters["n_align"], len(data.labels) // parameters.get("n_rounds", 1))
    classifier = LVLMVAClassifier(**parameters, critic=critic, random_state=seed)
    classifier.fit(data.images, data.labels)
    seconds = erm.seconds + time.perf_counter() - start
    findings = measure_findings(classifier, data.masks)
    return Fitted(classifier.module_, len(classifier.alignment_set_), seconds, findings)


def rival(name: str) -> Method:
    """Return the method of `lvlm_va.comparison` of this name."""
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
        fitted = kind(**parameters, random_state=seed).fit(data.images, data.labels, **given)
        seconds = time.perf_counter() - start + (erm.seconds if name in _FINE_TUNED else 0)
        return Fitted(fitted.module_, len(data.labels) if given else 0, seconds)

    return run


def estimator_parameters(task: Task) -> dict[str, Any]:
    """Return the parameters of `LVLMVAClassifier` that suit a task, but for the critic."""
    chosen = {
        "sampler": "random",
        "n_align": task.n_align,
        "specifications": task.specifications,
        # As the paper cuts; the comparison of segmenters sets the others beside it.
        "segmenter": "ppeps_wgm",
    }
    return asdict(task.settings) | chosen


def _parameters(task: Task) -> dict[str, Any]:
    parameters = asdict(task.settings)
    del parameters["align_epochs"]
    return parameters

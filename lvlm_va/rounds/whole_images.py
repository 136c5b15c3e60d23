"""What a person must be told before masks are made: a shortcut that is all over the image has none."""

from __future__ import annotations

from contextlib import suppress

from torch import nn

from lvlm_va.auditing import DiffuseFinding, diffuse_tests, telling_statistics
from lvlm_va.common.errors import NotFiniteError
from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.heads import OneLogit

# Images that are set to others' values; where nothing tells the labels apart, none is.
_N_TESTED = 50
# Share of predictions that must surely change: less may be what should count, and is brighter or sharper, too.
_LEAST_TOLD = 0.25


def remarks_on_whole_images(
    module: nn.Module, data: TrainingData, *, batch_size: int, seed: int
) -> tuple[str, ...]:
    """Return what must be told of a classifier that follows how whole images look, such as how bright they are.

    Only statistics that tell the labels apart in the training data are tested, each with some hundred forwards; with
    none, no image passes the module.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier, trained plainly.
    data : TrainingData
        What it was trained on. Nothing is told of fewer than 20 images, or where values lie outside [0, 1].
    batch_size : int
        Images at a time.
    seed : int
        Of all that is drawn.
    """
    questions = [("", module, data.labels)]
    if data.findings:
        questions = [
            (f" ({name})", OneLogit(module, finding), data.labels[:, finding])
            for finding, name in enumerate(data.findings)
        ]
    remarks = []
    for about, asked, labels in questions:
        telling = telling_statistics(data.images, labels.numpy(), seed=seed)
        if not telling:
            continue
        with suppress(NotFiniteError):  # told of where the result is used
            first = diffuse_tests(
                asked,
                data.images,
                batch_size=batch_size,
                n_images=_N_TESTED,
                seed=seed,
                statistics=telling,
            )[0]
            if first.alarming and first.effect_interval[0] > _LEAST_TOLD:
                remarks.append(_told(first, about))
    return tuple(remarks)


def _told(found: DiffuseFinding, about: str) -> str:
    return (
        f"The classifier follows the {found.statistic} of whole images{about}. {found} It has no place, so masks "
        f"cannot mend it; augmentation in training can ('augment'): {found.advice}."
    )

"""How hard the drawn data sets are: a net that never saw the shortcut, and one that was trained with it.

``python -m lvlm_va.experiments.difficulty radiographs`` prints both nets' accuracy on the test images, whose
shortcut tells nothing.
"""

from __future__ import annotations

from enum import StrEnum

import torch
import typer

from lvlm_va.alignment import TrainingOptions, train
from lvlm_va.datasets import bandaged_lesions, ruled_leaves, stamped_castings, tagged_radiographs
from lvlm_va.metrics import GroupAccuracies, group_accuracies
from lvlm_va.modules.build import build_module
from lvlm_va.modules.logits import predict_logits


class DrawnSet(StrEnum):
    """Data sets that are drawn."""

    radiographs = "radiographs"
    lesions = "lesions"
    leaves = "leaves"
    castings = "castings"


MAKERS = {
    DrawnSet.radiographs: tagged_radiographs,
    DrawnSet.lesions: bandaged_lesions,
    DrawnSet.leaves: ruled_leaves,
    DrawnSet.castings: stamped_castings,
}


def measure_difficulty(
    name: DrawnSet,
    *,
    shortcut: bool,
    module: str = "resnet18",
    n_train: int = 2000,
    n_test: int = 800,
    size: int = 128,
    options: TrainingOptions | None = None,
    seed: int = 0,
) -> GroupAccuracies:
    """Train a net from scratch and return its accuracy on the test images, by group.

    Parameters
    ----------
    name : {"radiographs", "lesions", "leaves", "castings"}
        The data set.
    shortcut : bool
        Whether training images have their shortcut; test images always do.
    module : str, default="resnet18"
        Name of a built-in net.
    n_train, n_test : int
        Numbers of images.
    size : int, default=128
        Height and width of the images.
    options : TrainingOptions or None, default=None
        How to train; None takes 4 epochs of Adam in batches of 32, with a rate of 1e-3 that falls along a cosine.
    seed : int, default=0
        Seed of the images, the first weights and the batches.

    Returns
    -------
    GroupAccuracies
        Accuracies of the groups of class and shortcut.
    """
    options = options or TrainingOptions(epochs=4, batch_size=32, schedule="cosine")
    make = MAKERS[name]
    data = make("train", n=n_train, size=size, seed=seed, shortcut=shortcut)
    test = make("test", n=n_test, size=size, seed=seed)
    net = build_module(module, data.images.shape[1:], 2, seed=seed, default_dtype=torch.float32)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    trained = train(net, images, labels, options, seed=seed).module
    logits = predict_logits(trained, torch.from_numpy(test.images), batch_size=128)
    return group_accuracies(test.labels, logits.argmax(1).numpy(), groups=test.groups)


def main(
    name: DrawnSet,
    module: str = "resnet18",
    epochs: int = 4,
    n_train: int = 2000,
    n_test: int = 800,
    size: int = 128,
    seed: int = 0,
) -> None:
    """Print the accuracy of a net trained without and with the shortcut."""
    options = TrainingOptions(epochs=epochs, batch_size=32, schedule="cosine")
    for shortcut in (False, True):
        groups = measure_difficulty(
            name,
            shortcut=shortcut,
            module=module,
            n_train=n_train,
            n_test=n_test,
            size=size,
            options=options,
            seed=seed,
        )
        typer.echo(
            f"{name}, trained {'with' if shortcut else 'without'} the shortcut: accuracy {groups.overall:.3f}, worst "
            f"group {groups.worst:.3f} ({groups.worst_group})"
        )


if __name__ == "__main__":
    typer.run(main)

"""Decoy-MNIST and its like: how much of the gain from true masks a few critiqued images recover."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.files import write_json
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.critique import Critic, OracleCritic, RegionCritic, TinyCritic
from lvlm_va.datasets import DecoyData, decoy_digits, decoy_mnist
from lvlm_va.datasets.decoy import Variant
from lvlm_va.datasets.idx import Split
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.evaluation import MEASURES, evaluate, markdown_table

# (split, seed) -> data
Loader = Callable[[Split, int], DecoyData]


@dataclass(frozen=True)
class DecoySettings:
    """How the experiment is run.

    `critic` and `verdict_accuracy` (of true masks) are as in `make_critic`; `propagate` is the number of images to
    which verdicts are extended, 0 for none; the rest is as in `LVLMVAClassifier`.
    """

    module: str = "mlp"
    critic: str = "oracle"
    sampler: str = "low_entropy"
    n_align: int = 300
    epochs: int = 12
    align_epochs: int = 12
    batch_size: int = 256
    lr: float = 1e-3
    rrr_strength: float | str = "auto"
    propagate: int = 0
    verdict_accuracy: float = 1.0


MNIST = DecoySettings()
# 1,078 images only: smaller batches and more epochs than on MNIST give as many steps.
DIGITS = DecoySettings(
    critic="tiny", sampler="random", n_align=150, epochs=40, align_epochs=40, batch_size=32
)


# What the expert says of every class; the tiny critic reads it.
DESCRIPTION = "The digit counts. The patch in the corner does not matter."
_CRITICS = ("tiny", "oracle", "region")


def mnist_loader(data_dir: str | os.PathLike[str], variant: Variant = "ross") -> Loader:
    """Return a loader of Decoy-MNIST, or Decoy-Fashion-MNIST, from a folder of idx files."""
    return lambda split, seed: decoy_mnist(data_dir, variant=variant, split=split, random_state=seed)


def digits_loader() -> Loader:
    """Return a loader of decoy digits, which need no file."""
    return lambda split, seed: decoy_digits(split, random_state=seed)


def make_critic(name: str, data: DecoyData, *, verdict_accuracy: float = 1.0, seed: int = 0) -> Critic:
    """Return a critic by its name.

    Parameters
    ----------
    name : {"tiny", "oracle", "region"}
        The vision-language model that ships with the package and reads `DESCRIPTION`, the true masks, or the rule
        that corners do not matter.
    data : DecoyData
        The training data, with their masks.
    verdict_accuracy : float, default=1.0
        Share of right verdicts to expect of the true masks; other critics err as they do.
    seed : int, default=0
        Seed of the wrong ones.

    Returns
    -------
    Critic
        The critic.

    Raises
    ------
    ValueError
        If the name is unknown, or a critic other than the true masks is told how often to err.
    """
    if verdict_accuracy != 1 and name != "oracle":
        raise ValueError(
            "The 'verdict_accuracy' argument must be 1 unless 'critic' is 'oracle', which errs as often as it is told. "
            f"Got {verdict_accuracy} for {name!r} instead."
        )
    if name == "tiny":
        return TinyCritic()
    if name == "oracle":
        return OracleCritic(data.masks, verdict_accuracy, seed)
    if name == "region":
        return RegionCritic({"irrelevant": ["corners"]})
    raise unknown_name("critic", name, _CRITICS)


def estimator_parameters(settings: DecoySettings) -> dict[str, Any]:
    """Return the estimator's parameters but for the critic, its name left standing."""
    descriptions = {str(label): DESCRIPTION for label in range(10)}
    parameters = dataclasses.asdict(settings) | {"specifications": descriptions}
    del parameters["verdict_accuracy"]
    return parameters | {"propagate": settings.propagate or False}


def fit_decoy(
    data: DecoyData, settings: DecoySettings, *, seed: int, run_dir: Path | None
) -> LVLMVAClassifier:
    """Train, critique and align on decoyed training data."""
    critic = make_critic(settings.critic, data, verdict_accuracy=settings.verdict_accuracy, seed=seed)
    parameters = estimator_parameters(settings) | {"critic": critic}
    classifier = LVLMVAClassifier(**parameters, run_dir=run_dir, random_state=seed)
    return classifier.fit(data.images, data.labels)


def run_decoy(
    load: Loader,
    settings: DecoySettings,
    *,
    seeds: int,
    out: str | os.PathLike[str],
    echo: Callable[[str], Any],
) -> dict[str, Any]:
    """Run the experiment for several seeds and write ``metrics.json``.

    Parameters
    ----------
    load : callable
        Gives the ``"train"`` and the ``"test"`` data for a seed.
    settings : DecoySettings
        How it is run.
    seeds : int
        Number of seeds, from 0.
    out : path-like
        Folder; run again with the same one, what is done is not done again.
    echo : callable
        Gets each line of text.

    Returns
    -------
    dict
        What ``metrics.json`` holds: ``unaligned``, ``aligned`` and ``ground_truth`` (the same net aligned with
        the true masks of all training images), each a mapping of measure to one value per seed, and
        ``settings``.
    """
    out = Path(out)
    rows: dict[str, dict[str, list[float]]] = {
        row: {name: [] for name in MEASURES} for row in ("unaligned", "aligned", "ground_truth")
    }
    for seed in range(seeds):
        data, test = load("train", seed), load("test", seed)
        classifier = fit_decoy(data, settings, seed=seed, run_dir=out / f"seed-{seed}")
        modules = {
            "unaligned": classifier.unaligned_module_,
            "aligned": classifier.module_,
            "ground_truth": _align_with_true_masks(classifier.unaligned_module_, data, settings, seed, out),
        }
        for row, module in modules.items():
            figures = evaluate(module, test, classifier.references_).figures()
            for name, value in figures.items():
                rows[row][name].append(value)
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
            echo(f"seed {seed}, {row.replace('_', ' ')}: {shown}")
    metrics = {**rows, "settings": {**dataclasses.asdict(settings), "seeds": seeds}}
    write_json(out / "metrics.json", metrics)
    echo("\n" + markdown_table(rows))
    return metrics


def _align_with_true_masks(
    module: nn.Module, data: DecoyData, settings: DecoySettings, seed: int, out: Path
) -> nn.Module:
    images, labels, masks = (torch.from_numpy(part) for part in (data.images, data.labels, data.masks))
    options = TrainingOptions(
        epochs=settings.align_epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        rrr_strength=settings.rrr_strength,
        align_fraction=1.0,
        schedule="cooldown",
    )
    key = fingerprint(options, module)
    return train(
        module,
        images,
        labels,
        options,
        alignment_set=AlignmentSet(images, labels, masks.to(images.dtype)),
        seed=seed,
        checkpoint_path=out / f"seed-{seed}" / f"ground-truth-{key}.safetensors",
    ).module

"""Align a user's own classifier on a user's own folder: what ``lvlm-va align`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from lvlm_va._files import atomic_path, write_json
from lvlm_va._logits import predict_logits
from lvlm_va.attribution import DeepLiftShap
from lvlm_va.backends import Prices
from lvlm_va.critique import Critic, Judge
from lvlm_va.datasets import FolderData, load_image_folder
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.metrics import alignment_score
from lvlm_va.report import Measured, Measures, keep_measures


def align_folder(
    data: str | os.PathLike[str],
    *,
    module: nn.Module | Callable[[], nn.Module] | str,
    critic: Critic | str,
    judge: Judge | str | None = None,
    specifications: Mapping[str, str],
    out: str | os.PathLike[str],
    image_size: tuple[int, int],
    mode: Any,
    table: str | None,
    columns: Mapping[str, str],
    extension: str,
    parameters: Mapping[str, Any],
    verdicts: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    prices: Prices | None = None,
    echo: Callable[[str], Any],
) -> LVLMVAClassifier:
    """Align on the training images of a folder, and measure on its test images.

    Parameters
    ----------
    data : path-like
        Folder of images. Without a split column all of them are training images.
    module, critic, judge, specifications
        As in `LVLMVAClassifier`.
    out : path-like
        Run directory; gets ``aligned.safetensors``, the aligned weights, and ``metrics.json``.
    image_size : (int, int)
        Height and width.
    mode, table, columns, extension
        As in `lvlm_va.datasets.load_image_folder`.
    parameters : mapping of str to object
        More parameters of `LVLMVAClassifier`.
    verdicts : path-like or None, default=None
        JSON file of corrected verdicts to align with.
    dry_run : bool, default=False
        Say what asking models would take, and stop before anything is sent.
    prices : Prices or None, default=None
        What the models' provider charges, for the dry run.
    echo : callable
        Gets each line of text.

    Returns
    -------
    LVLMVAClassifier
        The estimator, fitted unless this is a dry run.
    """
    out = Path(out)
    folder = load_image_folder(
        data, table, image_size=image_size, mode=mode, columns=columns, extension=extension
    )
    splits = np.full(len(folder.labels), "train") if folder.splits is None else folder.splits
    training, test = splits == "train", splits == "test"
    if not training.any():
        raise ValueError(
            f"The 'split' column must mark images as 'train'. Got only {sorted(set(splits))} instead."
        )
    classifier = LVLMVAClassifier(
        module, critic=critic, judge=judge, specifications=specifications or None, run_dir=out, **parameters
    )
    ids = [name for name, chosen in zip(folder.image_ids, training, strict=True) if chosen]
    if dry_run:
        cost = classifier.estimate_cost(
            folder.images[training], folder.labels[training], image_ids=ids, prices=prices
        )
        echo(f"Nothing was sent. The models would be asked for at most: {cost}; retries come on top.")
        return classifier
    classifier.fit(folder.images[training], folder.labels[training], image_ids=ids)
    if verdicts is not None:
        classifier.realign(verdicts)

    state = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in classifier.module_.state_dict().items()
    }
    with atomic_path(out / "aligned.safetensors") as temporary:
        save_file(state, temporary)
    counts = classifier.verdicts_.counts()
    echo(f"{len(ids)} training images, {len(classifier.alignment_set_)} critiqued; verdicts: {counts}")
    behaviour = classifier.behaviour_summary()
    echo(str(behaviour))
    metrics: dict[str, Any] = {
        "verdicts": counts,
        "seconds": classifier.seconds_,
        "behaviour": {found.label: found.text for found in behaviour.classes},
    }
    if test.any():
        before, after = (
            _measure(classifier, part, folder, test)
            for part in (classifier.unaligned_module_, classifier.module_)
        )
        keep_measures(out, Measures("test images", folder.groups is not None, before, after))
        for when, measured in (("before", before), ("after", after)):
            metrics[when] = measured.figures()
            echo(
                f"{when}: "
                + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics[when].items())
            )
    write_json(out / "metrics.json", metrics)
    echo(f"Aligned weights: {out / 'aligned.safetensors'}")
    return classifier


def _measure(
    classifier: LVLMVAClassifier, module: nn.Module, folder: FolderData, rows: NDArray[np.bool_]
) -> Measured:
    images = torch.from_numpy(folder.images[rows]).float() / 255
    numbers = predict_logits(module, images, batch_size=classifier.batch_size).argmax(1)
    alignment = None
    if folder.masks is not None:
        references = classifier.references_.for_images(images)
        explanation = DeepLiftShap().attribute(module, images, numbers, references)
        alignment = alignment_score(explanation.attributions, folder.masks[rows])
    groups = None if folder.groups is None else folder.groups[rows]
    return Measured.of(folder.labels[rows], classifier.classes_[numbers], groups, alignment)

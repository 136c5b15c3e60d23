"""Align a user's own classifier on a user's own folder: what ``lvlm-va align`` does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import save_file
from torch import nn

from lvlm_va.backends import Prices
from lvlm_va.common.distributed import on_first
from lvlm_va.common.files import atomic_path, write_json
from lvlm_va.common.warnings import warn
from lvlm_va.critique import Critic, Judge, Specification
from lvlm_va.data.inputs import open_dataset
from lvlm_va.data.stored_images import StoredImages
from lvlm_va.data.training_data import Images
from lvlm_va.datasets import FolderDataset, open_image_folder
from lvlm_va.datasets.mask_folder import with_mask_folder
from lvlm_va.datasets.splits import usual_split
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.modules.saving import state_of
from lvlm_va.report import keep_command, measure, read_run
from lvlm_va.report.measures import Measures

# Instead of a folder of masks: those that the table names.
TABLE = "table"


def align_folder(
    data: str | os.PathLike[str],
    *,
    module: nn.Module | Callable[[], nn.Module] | str,
    critic: Critic | str | None,
    judge: Judge | str | None = None,
    specifications: Mapping[str, Specification],
    out: str | os.PathLike[str],
    image_size: tuple[int, int],
    mode: Any,
    table: str | None,
    columns: Mapping[str, str],
    extension: str,
    window: tuple[float, float] | None = None,
    fit: Any = "stretch",
    findings: Sequence[str] | None = None,
    finding_values: Mapping[str, int] | None = None,
    masks: str | None = None,
    relevant_masks: str | None = None,
    parameters: Mapping[str, Any],
    verdicts: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    prices: Prices | None = None,
    command: Sequence[str] = (),
    echo: Callable[[str], Any],
) -> LVLMVAClassifier:
    """Align on the training images of a folder, and measure on its test images.

    Parameters
    ----------
    data : path-like
        Folder of images. Without splits all of them are training images; those for validation are `fit`'s with
        ``early_stopping``, and else left out. Patients that the table names are `fit`'s.
    module, critic, judge, specifications
        As in `LVLMVAClassifier`.
    out : path-like
        Run directory; gets ``aligned.safetensors``, the aligned weights, ``metrics.json`` and ``report.html``.
    image_size : (int, int)
        Height and width.
    mode, table, columns, extension, window, fit, findings, finding_values
        As in `lvlm_va.datasets.load_image_folder`.
    masks, relevant_masks : str or None, default=None
        Where masks of training images are that people drew, of what must not count, and of what should count: a folder,
        as for `lvlm_va.datasets.mask_folder.with_mask_folder`, or ``"table"`` for the masks that the table names. Of
        several findings, what must not count must not for any; what should count is refused.
    parameters : mapping of str to object
        More parameters of `LVLMVAClassifier`.
    verdicts : path-like or None, default=None
        JSON file of corrected verdicts to align with.
    dry_run : bool, default=False
        Say what asking models would take, and stop before anything is sent.
    prices : Prices or None, default=None
        What the models' provider charges, for the dry run and the report.
    command : sequence of str, default=()
        The words of the command line, kept in the run directory: what makes the same run again.
    echo : callable
        Gets each line of text.

    Returns
    -------
    LVLMVAClassifier
        The estimator, fitted unless this is a dry run.

    Raises
    ------
    ValueError
        If a split is none for training, validation or test, or none is for training; or masks are given that do not say
        which finding they are about.
    """
    out = Path(out).expanduser()
    if verdicts is not None and critic is None:
        raise ValueError("Corrected verdicts need the critic that they correct. Got drawn masks alone.")
    if findings is not None:
        if relevant_masks is not None:
            raise ValueError(
                "Masks of what should count must say for which finding. Got some of whole images, with several "
                "findings: pass them in Python, as fit(..., masks={'relevant': {(image, finding): mask}})."
            )
        parameters = {**parameters, "classes": list(findings), "task": "multilabel"}
    folder = open_image_folder(
        data,
        table,
        image_size=image_size,
        mode=mode,
        columns=columns,
        extension=extension,
        window=window,
        fit=fit,
        findings=findings,
        finding_values=finding_values,
    )
    if folder.window is not None:
        low, high = folder.window
        echo(f"In images of more than 8 bits {low:g} became black and {high:g} white (window).")
    stops = bool(parameters.get("early_stopping"))
    training, validation, test = _parts(folder, echo, stops=stops)
    drawn = _drawn_masks(folder, training, {"irrelevant": masks, "relevant": relevant_masks}, echo)
    if drawn is not None and findings is not None:
        drawn = {
            kind: {(name, finding): mask for name, mask in of_images.items() for finding in findings}
            for kind, of_images in drawn.items()
        }
    classifier = LVLMVAClassifier(
        module, critic=critic, judge=judge, specifications=specifications or None, run_dir=out, **parameters
    )
    if dry_run:
        cost = classifier.estimate_cost(training, image_ids=training.image_ids, prices=prices)
        echo(f"Nothing was sent. The models would be asked for at most: {cost}; retries come on top.")
        return classifier
    # Now: what cannot be read must be found before anything is trained.
    test_data = _read_test(test, classifier.num_workers, relevant=relevant_masks == TABLE)
    patients = training.patients
    if patients is not None and patients[0] and (patients == patients[0]).all():
        patients = None  # all of one
    held = (validation, validation.labels) if stops and len(validation) else None
    classifier.fit(
        training, image_ids=training.image_ids, validation_data=held, masks=drawn, patients=patients
    )
    if verdicts is not None:
        classifier.realign(verdicts)
    kept_command = command if verdicts is None else ()
    on_first(lambda: _tell(classifier, len(training), test_data, out, prices, kept_command, echo))
    return classifier


def _parts(
    folder: FolderDataset, echo: Callable[[str], Any], *, stops: bool
) -> tuple[FolderDataset, FolderDataset, FolderDataset]:
    """Return the images for training, validation and test; `stops` where validation images stop training."""
    splits = ["train"] * len(folder) if folder.splits is None else folder.splits.tolist()
    usual = np.array([usual_split(split) for split in splits])
    training, validation, test = (usual == name for name in ("train", "validation", "test"))
    if not training.any() or not (training | validation | test).all():
        raise ValueError(
            "The splits must be 'train', 'test' and 'validation', or usual words for these, and there must be training "
            f"images. Got {sorted(set(splits))} instead."
        )
    if validation.any():
        what = "Used for early stopping" if stops else "Left out"
        echo(f"{what}: {validation.sum()} images for validation.")
    for name, measured in (("test", test), ("validation", validation & stops)):
        if folder.patients is None:
            break
        both = sorted({*folder.patients[training].tolist()} & {*folder.patients[measured].tolist()} - {""})
        if both:
            warn(
                f"The training and the {name} images should be of different patients. Got {len(both)} in both, such as "
                f"{both[0]!r}: the measured accuracy is that for known patients."
            )
    return folder.select(training), folder.select(validation), folder.select(test)


def _drawn_masks(
    folder: FolderDataset,
    training: FolderDataset,
    places: Mapping[str, str | None],
    echo: Callable[[str], Any],
) -> dict[str, dict[Any, NDArray[np.bool_]]] | None:
    """Return the masks of training images, by kind and name; None where none are asked for."""
    found: dict[str, dict[Any, NDArray[np.bool_]]] = {}
    for kind, place in places.items():
        if place is None:
            continue
        images = folder if place == TABLE else with_mask_folder(folder, place)
        chosen = images.select(images.masked & np.isin(images.image_ids, training.image_ids))
        if not len(chosen):
            raise ValueError(
                f"The {kind} masks must be of training images. Got none of them from {place!r}: the table names them "
                "in its column mask_path, and a folder has them under the images' names."
            )
        read = chosen.read_masks()
        assert read is not None
        found[kind] = dict(zip(chosen.image_ids, read, strict=True))
        left = int(images.masked.sum()) - len(chosen)
        echo(f"Drawn masks: {len(chosen)}, {kind}" + f" ({left} of other images left out)." * bool(left))
    return found or None


def _read_test(test: FolderDataset, num_workers: int, *, relevant: bool) -> dict[str, Any]:
    """Return what a report is given of the test images; `relevant` where their masks show what should count."""
    if not len(test):
        return {}
    images, _ = open_dataset(test, num_workers)
    if isinstance(images, StoredImages):
        images.reader.survey()
    masks = test.read_masks()
    if masks is not None and relevant:
        masks ^= test.masked[:, None, None]
    return {"X_test": images, "y_test": test.labels, "groups": test.groups, "masks": masks}


def _tell(
    classifier: LVLMVAClassifier,
    n_training: int,
    test_data: Mapping[str, Any],
    out: Path,
    prices: Prices | None,
    command: Sequence[str],
    echo: Callable[[str], Any],
) -> None:
    """Write what came of it: weights, measures, a report."""
    with atomic_path(out / "aligned.safetensors") as temporary:
        save_file(state_of(classifier.module_), temporary)
    for remark in classifier.remarks_:
        echo(f"Note: {remark}")
    metrics: dict[str, Any] = {"seconds": classifier.seconds_}
    trial = classifier.aligned_.trial
    if trial is not None:
        echo(str(trial))
        metrics["trial"] = trial.to_json()
    if command:
        keep_command(out, command)
    if classifier.critic is None:  # drawn masks alone
        echo(f"{n_training} training images, aligned with drawn masks; without a critic there is no report.")
        measures = _measure(classifier, **test_data) if test_data else None
    else:
        counts, behaviour = classifier.verdicts_.counts(), classifier.behaviour_summary()
        critiqued = Counter(classifier.job_.data.outcomes_of(classifier.aligned_.indices).tolist())
        by_class = ", ".join(
            f"{critiqued[i]} {name}" for i, name in enumerate(classifier.job_.data.class_names)
        )
        echo(
            f"{n_training} training images, {len(classifier.alignment_set_)} critiqued ({by_class}); verdicts: {counts}"
        )
        echo(str(behaviour))
        metrics["verdicts"] = counts
        metrics["behaviour"] = {found.label: found.text for found in behaviour.classes}
        try:
            echo(f"Look at {classifier.report(out / 'report.html', prices=prices, **test_data)}.")
        except ImportError as error:  # the extra is no condition for aligning
            echo(f"No report was written: {error}")
        measures = read_run(out).measures
    if measures is not None:
        if measures.n_explained:
            echo(f"Alignment is measured on {measures.n_explained} of the test images, drawn at random.")
        for when, measured in (("before", measures.before), ("after", measures.after)):
            metrics[when] = measured.figures()
            echo(
                f"{when}: "
                + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics[when].items())
            )
    write_json(out / "metrics.json", metrics)
    echo(f"Aligned weights: {out / 'aligned.safetensors'}")


def _measure(
    classifier: LVLMVAClassifier,
    X_test: Images,
    y_test: ArrayLike | None,
    groups: ArrayLike | None,
    masks: ArrayLike | None,
) -> Measures:
    images, labels = classifier._labelled(X_test, y_test, "y_test")
    return measure(classifier.job_, classifier.aligned_, images, labels, groups=groups, masks=masks)

"""What a run found and made, in files that other programs read: what ``lvlm-va export`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.alignment.checkpoint import read_checkpoint
from lvlm_va.common.errors import unknown_name
from lvlm_va.critique import VerdictTable
from lvlm_va.datasets.mask_files import MASK_FORMATS, write_masks
from lvlm_va.modules.build import build_module
from lvlm_va.modules.outputs import with_output
from lvlm_va.modules.preprocessed import Normalisation
from lvlm_va.modules.saving import (
    MODEL_FORMATS,
    OF_THE_NET,
    WEIGHTS_ALONE,
    InAndOut,
    save_module,
    write_weights,
)
from lvlm_va.report.run_record import current_files, join_tables
from lvlm_va.rounds.marks import KeptMarks
from lvlm_va.runs.directory import read_dataclass

VERDICT_FORMATS = ("csv",)
_AGAIN = "Run fit again with this run directory."


def export_run(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    masks: str | None = None,
    verdicts: str | None = None,
    model: str | None = None,
    module: nn.Module | Callable[[], nn.Module] | str | None = None,
) -> list[Path]:
    """Write parts of a run's current results.

    Parameters
    ----------
    run_dir : path-like
        The run directory.
    out : path-like
        Folder for what is written.
    masks : {"png", "npy", "coco"} or None, default=None
        As in `lvlm_va.datasets.mask_files.write_masks`.
    verdicts : {"csv"} or None, default=None
        ``verdicts.csv``, as `VerdictTable.to_csv` writes it.
    model : str or None, default=None
        The aligned net, as in `lvlm_va.modules.saving.save_module`.
    module : torch.nn.Module, callable, str or None, default=None
        What ``fit`` was given, for formats that hold more than weights.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ImportError
        If ONNX's packages are missing.
    FileNotFoundError
        If there is no such folder.
    ValueError
        If nothing is asked for, a format is unknown, the folder holds no finished run or lacks what is asked for, or
        the weights do not fit the module.
    """
    for name, asked, known in (
        ("masks", masks, MASK_FORMATS),
        ("verdicts", verdicts, VERDICT_FORMATS),
        ("model", model, MODEL_FORMATS),
    ):
        if asked is not None and asked not in known:
            raise unknown_name(name, asked, known)
    if masks is verdicts is model is None:
        raise ValueError("Say what to export: 'masks', 'verdicts' or 'model'. Got none of them.")
    folder, home = Path(run_dir).expanduser(), Path(out).expanduser()
    identity, latest, files = current_files(folder)
    written = []
    if model is not None:  # first: it may be refused
        written.append(_export_model(folder, home, identity, latest, files, model, module))
    if verdicts is not None:
        if not files.get("verdicts"):
            raise ValueError(f"{folder} holds a run without a critic, so without verdicts.")
        join_tables([VerdictTable.load(file) for file in files["verdicts"]]).to_csv(home / "verdicts.csv")
        written.append(home / "verdicts.csv")
    if masks is not None:
        (file,) = _files_of("marks", files, folder)
        marks, names = read_dataclass(file, KeptMarks).unpacked()
        written.append(write_masks(marks.named(names), home, masks))
    return written


def _files_of(stage: str, files: Mapping[str, list[Path]], folder: Path) -> list[Path]:
    found = files.get(stage, [])
    if len(found) != 1 or not found[0].is_file():
        raise ValueError(
            f"{folder} holds no {stage} of an aligned net: it only trained, with align_epochs=0, or is of an earlier "
            f"version. {_AGAIN}"
        )
    return found


def _export_model(
    folder: Path,
    home: Path,
    identity: Mapping[str, Any],
    latest: Mapping[str, Any],
    files: Mapping[str, list[Path]],
    form: str,
    spec: nn.Module | Callable[[], nn.Module] | str | None,
) -> Path:
    stage = "align"
    if latest.get("restored"):  # alignment had made it worse
        stage = "train"
        if not any(file.is_file() for file in files.get(stage, [])):
            raise ValueError(
                f"{folder} kept the net as it was given, as alignment made it worse (if_worse='restore'), and does not "
                "hold its weights: they are those that fit was given."
            )
    (file,) = _files_of(stage, files, folder)
    for fact in ("preprocess", "task"):
        if fact not in latest:
            raise ValueError(f"{folder / 'latest.json'} is of an earlier version: no {fact!r}. {_AGAIN}")
    kept, constants = read_checkpoint(file), latest["preprocess"]
    state: dict[str, Tensor] = kept["module"] if kept["best"] is None else kept["best"]
    # torch.compile's part of the names, too.
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    output = latest["parameters"]["output"]
    for around in (constants, output):  # what stood around the net while it was trained
        if around is not None:
            state = {
                name.removeprefix("module."): v for name, v in state.items() if name.startswith("module.")
            }
    about = InAndOut(identity["image_shape"], latest["findings"] or identity["classes"], latest["task"])
    if form in WEIGHTS_ALONE:
        return write_weights(state, constants, home, form, about)
    if spec is None:
        raise ValueError(
            f"The model format {form!r} holds more than weights: name the net with 'module', as for fit."
        )
    if constants is not None and "function" in constants:
        raise ValueError(
            f"The run normalised images by a function, {constants['function']}, which it does not hold. Export from "
            "Python, where it is: clf.export_model(...)."
        )
    dtype = next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)
    n_logits = 1 if about.task == "binary" else len(about.class_names)
    net = build_module(spec, tuple(identity["image_shape"]), n_logits, seed=0, default_dtype=dtype)
    try:
        net = getattr(net, "_orig_mod", net).to(dtype)
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"The 'module' argument must be the net of this run. {error}") from error
    preprocess = None if constants is None else Normalisation(**constants).to(dtype)
    if form not in OF_THE_NET:
        net = with_output(net, output)
    return save_module(net, preprocess, home, form, about)

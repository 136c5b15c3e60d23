"""Nets by name: a transformers folder on this machine, or one of timm's. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lvlm_va.common.errors import unknown_name
from lvlm_va.data.stored_images import ImageShape
from lvlm_va.modules.preprocessing import preprocessing_from

HF, TIMM = "hf:", "timm:"
FORMS = ("'hf:FOLDER'", "'timm:NAME'", "'timm:FOLDER'")
_SAYS = "The 'module' argument"
_MOST_NAMES = 3


def is_named(spec: object) -> bool:
    """Whether what the user passed as ``module`` begins like ``"hf:FOLDER"`` or ``"timm:NAME"``."""
    return isinstance(spec, str) and spec.startswith((HF, TIMM))


def folder_of(spec: object) -> Path | None:
    """Return the folder with trained weights that a name stands for; None for all else.

    Raises
    ------
    ValueError
        If it must be a folder, and is none.
    """
    if not isinstance(spec, str) or not is_named(spec):
        return None
    kind, _, name = spec.partition(":")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if f"{kind}:" == HF or "/" in name or ":" in name:
        raise ValueError(
            f"{_SAYS} {spec!r} must name a folder on this machine. There is no folder {name!r}, and nothing is "
            "downloaded: fetch the model first, for example with 'hf download', and name the folder it is in."
        )
    return None


def preprocess_of(spec: object) -> dict[str, list[float]] | None:
    """Return the normalisation that the folder which a name stands for tells of; None for all else.

    Raises
    ------
    ValueError
        If the folder does not tell.
    """
    folder = folder_of(spec)
    if folder is None:
        return None
    try:
        return preprocessing_from(folder)
    except FileNotFoundError as error:
        raise ValueError(
            f"{_SAYS} {spec!r} must name a folder that says how images are normalised. {error} Say it with "
            "'preprocess'; {'mean': 0.0, 'std': 1.0} for not at all."
        ) from error


def named_net(spec: str, image_shape: ImageShape, n_classes: int) -> nn.Module:
    """Return the net of this name.

    Parameters
    ----------
    spec : str
        ``"hf:FOLDER"``: an image classifier that transformers saved; ``"timm:FOLDER"``: one that timm saved;
        ``"timm:NAME"``: one of timm's, untrained.
    image_shape : tuple of (C, H, W)
        Shape of one image, for an untrained net.
    n_classes : int
        Number of classes, for an untrained net.

    Returns
    -------
    torch.nn.Module
        In float32.

    Raises
    ------
    ImportError
        If timm is missing, or does not work.
    ValueError
        If there is no such folder or name, or the folder holds no whole image classifier.
    """
    folder = folder_of(spec)
    if spec.startswith(HF):
        assert folder is not None
        return _of_transformers(spec, folder).float()
    return _of_timm(spec, folder, image_shape, n_classes).float()


def _of_transformers(spec: str, folder: Path) -> nn.Module:
    from transformers import AutoModelForImageClassification

    try:
        net, found = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{_SAYS} {spec!r} must name a folder with an image classifier. {error}") from error
    # What is not in the folder was drawn at random.
    missing = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in found[kind])
    if missing:
        raise ValueError(
            f"{_SAYS} {spec!r} must name a folder with the weights of a whole image classifier. Got none for "
            f"{', '.join(missing[:_MOST_NAMES])}{', ...' * (len(missing) > _MOST_NAMES)}: is it a backbone without a "
            "head? To train a new head pass a callable that makes the net."
        )
    made: nn.Module = net
    return made


def _of_timm(spec: str, folder: Path | None, image_shape: ImageShape, n_classes: int) -> nn.Module:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision of another build than torch's
        raise ImportError(
            f"{_SAYS} {spec!r} needs timm, and timm a torchvision that fits this torch: pip install 'lvlm-va[timm]'. "
            f"Importing it raised: {error}"
        ) from error
    if folder is not None:
        try:
            trained: nn.Module = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{_SAYS} {spec!r} must name a folder with a model of timm's. {error}"
            ) from error
        return trained
    name = spec.removeprefix(TIMM)
    if "." in name:
        raise ValueError(
            f"{_SAYS} {spec!r} names trained weights, and nothing is downloaded. Name a folder that timm saved them in "
            f"('timm:FOLDER'), or an untrained net, {TIMM + name.partition('.')[0]!r}."
        )
    if not timm.is_model(name):
        raise unknown_name("module", spec, [TIMM + known for known in timm.list_models()])
    size: Mapping[str, Any] = {}
    if timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        size = {"img_size": image_shape[1:]}
    made: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=n_classes, in_chans=image_shape[0], **size
    )
    return made

"""From what the user passes as ``preprocess`` to the step before the net; constants read from a model's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lvlm_va.modules.logits import copy_module
from lvlm_va.modules.preprocessed import Called, Normalisation

Preprocess = Mapping[str, Any] | Callable[[Tensor], Tensor]

_SAYS = "The 'preprocess' argument must"
_HOW = (
    "Pass {'mean': [...], 'std': [...]}, for images in [0, 1], or a differentiable function of such images, a tensor "
    "(n, C, H, W)."
)
_READ = ("torchvision", "timm")
# Parts of a transform that move pixels, or make [0, 1] of bytes: X has gone through them already.
_GEOMETRY = {
    "CenterCrop", "ConvertImageDtype", "MaybeToTensor", "RandomCrop", "RandomHorizontalFlip",
    "RandomResizedCrop", "RandomResizedCropAndInterpolation", "RandomVerticalFlip", "Resize", "ResizeKeepRatio",
    "ToImage", "ToTensor",
}  # fmt: skip
# What image processors do to colours besides rescaling and normalising.
_OTHERWISE = ("do_flip_channel_order", "do_grayscale", "do_color_quantize", "do_map_pixels")


def resolve_preprocess(spec: Preprocess | None, n_channels: int) -> nn.Module | None:
    """Return the step from images in [0, 1] to what the module was trained on; None for None.

    Parameters
    ----------
    spec : mapping, transform, image processor, callable or None
        What the user passed as ``preprocess``; see `lvlm_va.LVLMVAClassifier`.
    n_channels : int
        Channels of the images.

    Returns
    -------
    torch.nn.Module or None
        Of our own, without anything to train.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If its constants do not fit the images, or it does what is not understood.
    """
    if spec is None:
        return None
    constants = _constants_of(spec)
    if constants is not None:
        return Normalisation(*(_per_channel(name, constants[name], n_channels) for name in ("mean", "std")))
    if isinstance(spec, nn.Module):
        return copy_module(spec).requires_grad_(requires_grad=False)
    if callable(spec):
        return Called(spec)
    raise TypeError(f"{_SAYS} be a normalisation. Got {type(spec).__name__} instead. {_HOW}")


def preprocessing_from(folder: str | os.PathLike[str]) -> dict[str, list[float]]:
    """Return the normalisation that a saved model was trained with, to be passed as ``preprocess``.

    Parameters
    ----------
    folder : path-like
        Folder of a model on this machine, with a ``preprocessor_config.json`` (transformers), or a ``config.json`` with
        ``pretrained_cfg`` (timm). Images are not resized by it: X must have the size that the model takes.

    Returns
    -------
    dict of str to list of float
        ``"mean"`` and ``"std"``, a number per channel, for images in [0, 1].

    Raises
    ------
    FileNotFoundError
        If there is neither file.
    ValueError
        If the file says nothing of it, or of more than a normalisation.
    """
    home = Path(folder).expanduser()
    path = home / "preprocessor_config.json"
    if path.is_file():
        return _of_processor(_read(path))
    path = home / "config.json"
    if path.is_file():
        config = _read(path).get("pretrained_cfg")
        if isinstance(config, Mapping) and {"mean", "std"} <= config.keys():
            return {name: [float(value) for value in config[name]] for name in ("mean", "std")}
    raise FileNotFoundError(
        f"The 'folder' argument must hold a preprocessor_config.json (transformers), or a config.json with the mean "
        f"and std of timm's pretrained_cfg. Got {os.fspath(folder)!r}, which holds neither."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object. Got {type(found).__name__} instead.")
    return found


def _constants_of(spec: Any) -> Mapping[str, Any] | None:
    """Return mean and std of images in [0, 1], where `spec` is known to normalise by them and to do nothing else."""
    if isinstance(spec, Mapping):
        if "image_mean" in spec or "do_normalize" in spec:
            return _of_processor(spec)
        if spec.keys() != {"mean", "std"}:
            raise ValueError(f"{_SAYS} have the keys 'mean' and 'std'. Got {list(spec)} instead.")
        return spec
    processor = getattr(spec, "image_processor", spec)
    if hasattr(processor, "image_mean") or hasattr(processor, "do_normalize"):
        names = ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize", "rescale_offset",
                 "include_top", *_OTHERWISE)  # fmt: skip
        return _of_processor({name: getattr(processor, name) for name in names if hasattr(processor, name)})
    parts = getattr(spec, "transforms", None)
    if isinstance(parts, Sequence):
        return _of_parts(list(parts))
    if isinstance(spec, nn.Sequential) and any(_normalises(part) for part in spec):
        return _of_parts(list(spec))
    return {"mean": spec.mean, "std": spec.std} if _normalises(spec) else None


def _normalises(part: Any) -> bool:
    """Whether it is torchvision's or timm's Normalize, or a preset of theirs that ends in one."""
    known = type(part).__module__.partition(".")[0] in _READ
    return known and hasattr(part, "mean") and hasattr(part, "std")


def _of_parts(parts: list[Any]) -> Mapping[str, Any]:
    normalising = [part for part in parts if _normalises(part)]
    names = [type(part).__name__ for part in parts if not _normalises(part)]
    unknown = [name for name in names if name not in _GEOMETRY and not (name == "ToDtype" and _scales(parts))]
    if unknown or len(normalising) > 1:
        raise ValueError(
            f"{_SAYS} be a transform of known parts: one Normalize, and what resizes, crops or makes tensors. Got "
            f"{unknown or ['Normalize'] * len(normalising)}. {_HOW}"
        )
    if not normalising:
        return {"mean": 0.0, "std": 1.0}
    return {"mean": normalising[0].mean, "std": normalising[0].std}


def _scales(parts: list[Any]) -> bool:
    return all(getattr(part, "scale", False) for part in parts if type(part).__name__ == "ToDtype")


def _of_processor(settings: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return mean and std of images in [0, 1] for what a transformers image processor makes of bytes."""
    other = [name for name in _OTHERWISE if settings.get(name)]
    if other:
        raise ValueError(
            f"{_SAYS} be an image processor that rescales and normalises. Got {', '.join(other)} in it. Pass a "
            "function instead, such as lambda images: images.flip(1) for the other order of the channels."
        )
    scale = 255 * float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 255
    offset = -1.0 if settings.get("rescale_offset") else 0.0
    means, stds = settings.get("image_mean"), settings.get("image_std")
    if not settings.get("do_normalize", means is not None):
        means, stds = 0.0, 1.0
    if means is None or stds is None:
        raise ValueError(f"{_SAYS} be an image processor with image_mean and image_std. Got None. {_HOW}")
    mean, std = np.broadcast_arrays(np.atleast_1d(means).astype(float), np.atleast_1d(stds).astype(float))
    if settings.get("include_top"):  # EfficientNet's divides once more where it stands before the whole net
        std = std * np.asarray(settings.get("image_std", 1.0), dtype=float)
    return {"mean": ((mean - offset) / scale).tolist(), "std": (std / scale).tolist()}


def _per_channel(name: str, values: Any, n_channels: int) -> list[float]:
    """Return a number per channel; a single one is for all channels."""
    given = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.full(0, np.nan)
    if array.ndim > 1 or array.size not in (1, n_channels) or not np.isfinite(array).all():
        raise ValueError(
            f"{_SAYS} hold a 'mean' and a 'std' of one finite number for each of the images' {n_channels} channel"
            f"{'s' * (n_channels > 1)}. Got {name}={given!r} instead."
        )
    numbers: list[float] = np.broadcast_to(array.ravel(), n_channels).tolist()
    if name == "std" and min(numbers) <= 0:
        raise ValueError(f"{_SAYS} hold a 'std' above 0. Got {given!r} instead.")
    if name == "mean" and max(map(abs, numbers)) > 1:
        raise ValueError(
            f"{_SAYS} hold the 'mean' of images in [0, 1]. Got {given!r}, of images in [0, 255]: divide mean and std "
            "by 255."
        )
    return numbers

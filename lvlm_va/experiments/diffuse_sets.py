"""Sets whose shortcut has no place: how bright, coloured, sharp or compressed a whole image is tells its class."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer
from lvlm_va.datasets import DecoyData
from lvlm_va.datasets.idx import Split

# Share of the training images whose class is told.
AGREEING = 0.95
_SPREAD = 0.1

Pixels = NDArray[np.float32]


def with_diffuse_shortcut(data: DecoyData, kind: str, split: Split = "train", seed: int = 0) -> DecoyData:
    """Return a set with a shortcut all over its images.

    Parameters
    ----------
    data : DecoyData
        Images without a shortcut, such as ``tagged_radiographs(shortcut=False)``.
    kind : {"background level", "colour cast", "blur", "jpeg quality"}
        What tells the class: the level of all that is not object; reddish or bluish light (colour images only); a
        Gaussian blur; how strongly the image was compressed.
    split : {"train", "test"}, default="train"
        The first class has little of it and the last one much, with a little spread, in 95 % of the training images;
        in the others and in all test images it is drawn at random from the classes.
    seed : int, default=0
        Of all that is drawn.

    Returns
    -------
    DecoyData
        New images, no masks of a shortcut, and groups such as ``"1/agrees"`` and ``"1/conflicts"``.

    Raises
    ------
    ValueError
        If there is no such kind, or the images are grey and the kind is a colour.
    """
    if kind not in KINDS:
        raise unknown_name("kind", kind, tuple(KINDS))
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split))
    check_integer("seed", seed, 0)
    if kind == "colour cast" and data.images.shape[1] != 3:
        raise ValueError(
            f"The 'data' argument must hold colour images for a colour cast. Got {data.images.shape[1]} channel(s)."
        )
    rng = np.random.default_rng([seed, get_args(Split).index(split), list(KINDS).index(kind)])
    n, n_classes = len(data.labels), int(data.labels.max()) + 1
    drawn = rng.integers(0, n_classes, n)
    told = rng.permutation(n) < AGREEING * n if split == "train" else np.zeros(n, bool)
    shown = np.where(told, data.labels, drawn)
    amounts = np.clip(shown / max(1, n_classes - 1) + _SPREAD * rng.uniform(-1, 1, n), 0, 1)
    objects = np.zeros(data.masks.shape, bool) if data.objects is None else data.objects
    images = np.stack(
        [KINDS[kind](*each) for each in zip(data.images, objects, amounts.tolist(), strict=True)]
    )
    words = np.where(shown == data.labels, "agrees", "conflicts")
    groups = np.array([f"{label}/{word}" for label, word in zip(data.labels, words, strict=True)])
    shades = np.rint(np.clip(images, 0, 1) * 255).astype(np.float32) / np.float32(255)
    return replace(data, images=shades, masks=np.zeros_like(data.masks), groups=groups)


def _background(image: Pixels, thing: NDArray[np.bool_], amount: float) -> Pixels:
    # Mixed with a little of a grey: so no background is too dark or too bright to be changed.
    mixed: Pixels = image + 0.2 * (1 - gaussian_filter(thing.astype(np.float32), 0.7)) * (amount - image)
    return mixed


def _cast(image: Pixels, thing: NDArray[np.bool_], amount: float) -> Pixels:
    lean = 0.2 * (amount - 0.5)
    warm: Pixels = image * np.array([1 + lean, 1, 1 - lean], np.float32)[:, None, None]
    return warm


def _blurred(image: Pixels, thing: NDArray[np.bool_], amount: float) -> Pixels:
    blurred: Pixels = gaussian_filter(image, (0, 1.2 * amount, 1.2 * amount), mode="nearest")
    return blurred


def _compressed(image: Pixels, thing: NDArray[np.bool_], amount: float) -> Pixels:
    shades = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(shades[..., 0] if len(image) == 1 else shades).save(
        stream, "JPEG", quality=round(95 - 87 * amount)
    )
    read = np.asarray(Image.open(stream), np.float32) / np.float32(255)
    compressed: Pixels = read.reshape(*image.shape[1:], -1).transpose(2, 0, 1)
    return compressed


#: What tells the class, by name: (image (C, H, W), object (H, W), amount in [0, 1]) -> image.
KINDS: dict[str, Callable[[Any, Any, float], Pixels]] = {
    "background level": _background,
    "colour cast": _cast,
    "blur": _blurred,
    "jpeg quality": _compressed,
}

"""From arrays to requests: what a critic sees of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.effect import Effect
from lvlm_va.common.pictures import to_unit
from lvlm_va.critique.types import CritiqueRequest


def build_requests(
    images: NDArray[Any],
    segments: NDArray[Any],
    effects: NDArray[Any],
    indices: Sequence[int] | NDArray[np.int64],
    image_ids: Sequence[str],
    labels: Sequence[str],
    descriptions: Sequence[str],
    effect_kind: Effect = "positive",
) -> list[CritiqueRequest]:
    """Return one request per image.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W), floating in [0, 1] or uint8
        The images, shown as :func:`to_rgb` says.
    segments : ndarray of shape (n, H, W), int
        0 for background, else the number of the segment, from 1.
    effects : ndarray of shape (n, H, W), floating
        Effect of each pixel, not negative, in any unit; divided by its sum over the image.
    indices : sequence of int of length n
        Row of each image in the data given to ``fit``.
    image_ids, labels, descriptions : sequence of str of length n
        Name, class, and what the expert says of the class, for each image.
    effect_kind : {"positive", "absolute"}, default="positive"
        Which effect it is.

    Returns
    -------
    list of CritiqueRequest
        In the order of `images`.

    Raises
    ------
    TypeError
        If `images` are neither floating nor uint8, or `segments` are not integers.
    ValueError
        If lengths or shapes differ, or an effect is negative or not finite.
    """
    images, segments, effects = np.asarray(images), np.asarray(segments), np.asarray(effects, np.float64)
    if images.ndim != 4:
        raise ValueError(f"The 'images' argument must be of shape (n, C, H, W). Got {images.shape} instead.")
    expected = (len(images), *images.shape[2:])
    for argument, array in (("segments", segments), ("effects", effects)):
        if array.shape != expected:
            raise ValueError(
                f"The {argument!r} argument must be of shape {expected}. Got {array.shape} instead."
            )
    if not np.issubdtype(segments.dtype, np.integer):
        raise TypeError(f"The 'segments' argument must hold integers. Got {segments.dtype} instead.")
    if segments.min(initial=0) < 0:
        raise ValueError(f"The 'segments' argument must not be negative. Got {segments.min()} instead.")
    if not (np.isfinite(effects).all() and effects.min(initial=0) >= 0):
        raise ValueError("The 'effects' argument must be finite and not negative. Got other values instead.")
    columns = {"indices": indices, "image_ids": image_ids, "labels": labels, "descriptions": descriptions}
    for argument, column in columns.items():
        if len(column) != len(images):
            raise ValueError(
                f"The {argument!r} argument must have one entry per image, {len(images)}. Got {len(column)} "
                "instead."
            )
    totals = effects.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(effects, totals, out=np.zeros_like(effects), where=totals > 0)
    return [
        CritiqueRequest(
            index=int(indices[i]),
            image_id=str(image_ids[i]),
            image=to_rgb(images[i]),
            segments=segments[i].astype(np.int64),
            effect=shares[i],
            label=str(labels[i]),
            description=str(descriptions[i]),
            effect_kind=effect_kind,
        )
        for i in range(len(images))
    ]


def to_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as the critic is shown it, and the expert in report and review.

    One channel is repeated and three are taken as red, green and blue; of any other number the mean over the
    channels is shown in grey. Values are those of `lvlm_va.common.pictures.to_unit`.

    Parameters
    ----------
    image : ndarray of shape (C, H, W), floating or uint8
        The image.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        A new array.

    Raises
    ------
    TypeError
        If the image is neither floating nor uint8.
    """
    values = to_unit(image)
    if len(values) != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    rgb: NDArray[np.uint8] = np.rint(255 * values).astype(np.uint8)
    return rgb.transpose(1, 2, 0)

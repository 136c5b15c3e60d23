"""Masks that people drew for some of the training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvlm_va.common.errors import unknown_name
from lvlm_va.data.training_data import TrainingData

Drawings = Mapping[str, Mapping[int | str, ArrayLike]]

_KINDS = ("irrelevant", "relevant")
_SAYS = "The 'masks' argument must"


@dataclass(frozen=True, eq=False)
class DrawnMasks:
    """Masks that people drew.

    Attributes
    ----------
    indices : Tensor of shape (m,), int64
        Rows of the training data, in order.
    masks : Tensor of shape (m, H, W), bool
        True where a pixel must not count.
    """

    indices: Tensor
    masks: Tensor

    def over(self, rows: Tensor, masks: Tensor) -> Tensor:
        """Return the masks (a, H, W) of these rows (a,), with the drawn ones where there are any."""
        both = torch.isin(rows, self.indices)
        drawn, found = self.masks[torch.searchsorted(self.indices, rows[both])], masks.clone()
        found[both] = drawn.to(masks.dtype)
        return found


def resolve_drawn_masks(masks: Drawings | None, data: TrainingData) -> DrawnMasks | None:
    """Return the masks that people drew, checked; None for None.

    Parameters
    ----------
    masks : mapping of {"irrelevant", "relevant"} to mapping of int or str to array-like of shape (H, W), or None
        What the user passed: for an image's row or name, where something was drawn. What lies in an irrelevant drawing,
        and what lies outside a relevant one, must not count.
    data : TrainingData
        The images.

    Returns
    -------
    DrawnMasks or None
        One mask per image; of an image with drawings of both kinds, what either rules out.

    Raises
    ------
    TypeError
        If it is no mapping of mappings.
    ValueError
        If a kind or an image is unknown, an image comes twice or may be either of two, a drawing has another shape than
        the images or other values than 0 and 1, or rules out a whole image; or if nothing is marked at all.
    """
    if masks is None:
        return None
    _check_mappings(masks)
    if data.multilabel:
        raise ValueError(
            f"{_SAYS} be None where y holds several findings: a drawing does not say which it is about."
        )
    found: dict[int, NDArray[np.bool_]] = {}
    place = {name: row for row, name in enumerate(data.image_ids)}
    for kind, drawings in masks.items():
        seen: dict[int, int | str] = {}
        for key, drawing in drawings.items():
            row = _row(key, place)
            if row in seen:
                raise ValueError(f"{_SAYS} name each image once. Got row {row} as {seen[row]!r} and {key!r}.")
            seen[row] = key
            drawn = _drawing(kind, key, drawing, tuple(data.images.shape[2:]))
            found[row] = (drawn if kind == "irrelevant" else ~drawn) | found.get(row, False)
    whole = [data.image_ids[row] for row, mask in found.items() if mask.all()]
    if whole:
        raise ValueError(
            f"{_SAYS} leave something in each image that may count. Got nothing left of {_listed(whole)}: leave out "
            "images on which nobody drew, and see that what counts is given as 'relevant'."
        )
    if not any(mask.any() for mask in found.values()):
        raise ValueError(f"{_SAYS} mark a pixel that must not count. Got {len(found)} masks that mark none.")
    rows = sorted(found)
    return DrawnMasks(torch.tensor(rows), torch.from_numpy(np.stack([found[row] for row in rows])))


def _check_mappings(masks: object) -> None:
    expected = f"{_SAYS} be {{'irrelevant': {{image: mask}}, 'relevant': {{image: mask}}}}, or one of these."
    if not isinstance(masks, Mapping):
        raise TypeError(f"{expected} Got {type(masks).__name__} instead.")
    for kind, drawings in masks.items():
        if kind not in _KINDS:
            error = unknown_name("masks", kind, _KINDS)
            raise ValueError(f"{error} {expected}")
        if not isinstance(drawings, Mapping):
            raise TypeError(f"{expected} Got {type(drawings).__name__} for {kind!r} instead.")


def _row(key: Any, place: Mapping[str, int]) -> int:
    """Return the row of an image that is named by its number or its name."""
    named = place.get(str(key))
    if isinstance(key, str):
        if named is None:
            raise ValueError(
                f"{_SAYS} name images by their row or by one of image_ids. Got {key!r}, which is none."
            )
        return named
    if isinstance(key, bool) or not isinstance(key, Integral) or not 0 <= int(key) < len(place):
        raise ValueError(
            f"{_SAYS} name images by their row, 0 to {len(place) - 1}, or by one of image_ids. Got {key!r} instead."
        )
    if named is not None and named != key:
        raise ValueError(
            f"{_SAYS} say which image is meant. Got {key!r}, which is a row, and the name of row {named}: pass the "
            "names, as text."
        )
    return int(key)


def _drawing(kind: str, key: Any, drawing: ArrayLike | Tensor, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    array = drawing.detach().cpu().numpy() if isinstance(drawing, Tensor) else np.asarray(drawing)
    expected = f"{_SAYS} hold arrays of shape {shape}, of True and False or 1 and 0."
    if array.shape != shape:
        raise ValueError(f"{expected} Got shape {array.shape} for {kind} {key!r} instead.")
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{expected} Got other values for {kind} {key!r}.")
    marked: NDArray[np.bool_] = array != 0
    return marked


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

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
from lvlm_va.data.findings import SEPARATOR
from lvlm_va.data.training_data import TrainingData

# Keys are an image's row or name; of several findings, that and a finding, or a case's name.
Drawings = Mapping[str, Mapping[Any, ArrayLike]]

_KINDS = ("irrelevant", "relevant")
_SAYS = "The 'masks' argument must"


@dataclass(frozen=True, eq=False)
class DrawnMasks:
    """Masks that people drew.

    Attributes
    ----------
    indices : Tensor of shape (m,), int64
        Cases of the training data (rows of it where labels are classes), in order.
    masks : Tensor of shape (m, H, W), bool
        True where a pixel must not count.
    """

    indices: Tensor
    masks: Tensor

    def over(self, cases: Tensor, masks: Tensor) -> Tensor:
        """Return the masks (a, H, W) of these cases (a,), with the drawn ones where there are any."""
        both = torch.isin(cases, self.indices)
        drawn, found = self.masks[torch.searchsorted(self.indices, cases[both])], masks.clone()
        found[both] = drawn.to(masks.dtype)
        return found


def resolve_drawn_masks(masks: Drawings | None, data: TrainingData) -> DrawnMasks | None:
    """Return the masks that people drew, checked; None for None.

    Parameters
    ----------
    masks : mapping of {"irrelevant", "relevant"} to mapping of int or str to array-like of shape (H, W), or None
        What the user passed: for an image's row or name, where something was drawn. What lies in an irrelevant drawing,
        and what lies outside a relevant one, must not count. Of several findings, keys are ``(image, finding)``, or
        names of cases.
    data : TrainingData
        The images.

    Returns
    -------
    DrawnMasks or None
        One mask per case; of one with drawings of both kinds, what either rules out.

    Raises
    ------
    TypeError
        If it is no mapping of mappings.
    ValueError
        If a kind, an image or a finding is unknown, a case comes twice or may be either of two, a drawing has another
        shape than the images or other values than 0 and 1, or rules out a whole image; or if nothing is marked at all.
    """
    if masks is None:
        return None
    _check_mappings(masks)
    found: dict[int, NDArray[np.bool_]] = {}
    place = {name: row for row, name in enumerate(data.image_ids)}
    for kind, drawings in masks.items():
        seen: dict[int, Any] = {}
        for key, drawing in drawings.items():
            case = _case(key, place, data.findings) if data.multilabel else _row(key, place)
            if case in seen:
                what = "case" if data.multilabel else "image"
                row = int(data.rows_of(torch.tensor(case)))
                raise ValueError(
                    f"{_SAYS} name each {what} once. Got row {row} as {seen[case]!r} and {key!r}."
                )
            seen[case] = key
            drawn = _drawing(kind, key, drawing, tuple(data.images.shape[2:]))
            found[case] = (drawn if kind == "irrelevant" else ~drawn) | found.get(case, False)
    whole = [data.case_id(case) for case, mask in found.items() if mask.all()]
    if whole:
        raise ValueError(
            f"{_SAYS} leave something in each image that may count. Got nothing left of {_listed(whole)}: leave out "
            "images on which nobody drew, and see that what counts is given as 'relevant'."
        )
    if not any(mask.any() for mask in found.values()):
        raise ValueError(f"{_SAYS} mark a pixel that must not count. Got {len(found)} masks that mark none.")
    cases = sorted(found)
    return DrawnMasks(torch.tensor(cases), torch.from_numpy(np.stack([found[case] for case in cases])))


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


def _case(key: Any, place: Mapping[str, int], findings: tuple[str, ...]) -> int:
    """Return the case that is named by an image and a finding, or by the name of both."""
    image, finding = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
    if isinstance(key, str) and SEPARATOR in key:
        image, _, finding = key.rpartition(SEPARATOR)
    if finding is None or str(finding) not in findings:
        raise ValueError(
            f"{_SAYS} say which finding each drawing is about: (image, finding), with one of {list(findings)}. Got "
            f"{key!r} instead."
        )
    return _row(image, place) * len(findings) + findings.index(str(finding))


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

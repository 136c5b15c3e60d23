"""Masks into files that other programs read: PNG, NumPy's, and COCO's run lengths."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.files import atomic_path, write_json
from lvlm_va.datasets.mask_folder import mask_names

MASK_FORMATS = ("png", "npy", "coco")


@dataclass(frozen=True, eq=False)
class NamedMasks:
    """Masks of images of a training set.

    Attributes
    ----------
    rows : ndarray of shape (m,), int64
        Rows of the images in the training data, all different.
    image_ids : sequence of str of length m
        Their names, all different.
    masks : ndarray of shape (m, H, W), bool
        True where a pixel must not count.
    origins : sequence of str of length m
        Where each mask comes from.
    """

    rows: NDArray[np.int64]
    image_ids: Sequence[str]
    masks: NDArray[np.bool_]
    origins: Sequence[str]


def write_masks(named: NamedMasks, folder: str | os.PathLike[str], form: str) -> Path:
    """Write masks.

    Parameters
    ----------
    named : NamedMasks
        The masks.
    folder : path-like
        Made where it is missing.
    form : {"png", "npy", "coco"}
        ``"png"``: a file per image in ``masks``, 255 where a pixel must not count, as
        ``lvlm_va.datasets.mask_folder.with_mask_folder`` finds them. ``"npy"``: ``masks.npy``, bool of shape (m, H, W).
        Beside both a table, ``masks.csv``. ``"coco"``: ``masks.json``, with an annotation for each mask that is not
        empty, in uncompressed run lengths.

    Returns
    -------
    Path
        The folder ``masks``, or the file.

    Raises
    ------
    ValueError
        If the format is unknown, ``masks`` holds files already, or an image's name cannot be a file's.
    """
    home = Path(folder).expanduser()
    if form not in MASK_FORMATS:
        raise unknown_name("format", form, MASK_FORMATS)
    if form == "coco":
        write_json(home / "masks.json", coco(named))
        return home / "masks.json"
    if form == "npy":
        with atomic_path(home / "masks.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, named.masks)
        _write_table(named, home, {})
        return home / "masks.npy"
    files = _file_names(named.image_ids)
    if (home / "masks").exists() and any((home / "masks").iterdir()):
        raise ValueError(
            f"{home / 'masks'} must be new or empty. It holds files: remove it, or name another folder."
        )
    for file, mask in zip(files, named.masks, strict=True):
        with atomic_path(home / "masks" / file) as temporary:
            Image.fromarray(mask.astype(np.uint8) * 255).save(temporary)
    _write_table(named, home, {"file": [f"masks/{file}" for file in files]})
    return home / "masks"


def coco(named: NamedMasks) -> dict[str, Any]:
    """Return masks as a COCO data set: JSON values; an image's ``id`` is its row."""
    height, width = named.masks.shape[1:]
    kept = zip(named.rows.tolist(), named.masks, named.origins, strict=True)
    annotations = [
        {
            "id": number,
            "image_id": row,
            "category_id": 1,
            "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
            "area": int(mask.sum()),
            "bbox": _box(mask),
            "iscrowd": 0,
            "attributes": {"origin": origin},
        }
        for number, (row, mask, origin) in enumerate((part for part in kept if part[1].any()), start=1)
    ]
    return {
        "info": {"description": "Pixels that must not count (lvlm_va)"},
        "images": [
            {"id": row, "file_name": name, "height": height, "width": width}
            for row, name in zip(named.rows.tolist(), named.image_ids, strict=True)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "spurious", "supercategory": "spurious"}],
    }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of a mask's runs, counted down its columns, by turns of 0 and of 1, 0 first.

    >>> run_lengths(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    values = mask.ravel(order="F")
    bounds = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    runs: list[int] = np.diff(bounds).tolist()
    return [0, *runs] if values[0] else runs


def _box(mask: NDArray[np.bool_]) -> list[int]:
    """Return left, top, width and height of what is marked."""
    (rows,), (columns,) = (np.nonzero(mask.any(axis)) for axis in (1, 0))
    return [
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]


def _file_names(image_ids: Sequence[str]) -> list[str]:
    both = mask_names(image_ids)
    owners = Counter(short for short, _ in both)
    names = [short if owners[short] == 1 else full for short, full in both]
    twice = [name for name, count in Counter(names).items() if count > 1]
    unfit = [name for name in names if not _is_below(name)]
    if twice or unfit:
        raise ValueError(
            f"The names of the images must be those of different files below a folder. Got {(twice + unfit)[0]!r}: "
            "take the format 'npy' or 'coco'."
        )
    return names


def _is_below(name: str) -> bool:
    parts = name.split("/")
    return not any(
        part in ("", ".", "..") or len(part.encode()) > 200 or set(part) & set("\\:\0") for part in parts
    )


def _write_table(named: NamedMasks, home: Path, more: dict[str, list[str]]) -> None:
    with (
        atomic_path(home / "masks.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(["row", "image_id", "origin", "n_pixels", *more])
        counts = named.masks.sum((1, 2)).tolist()
        table.writerows(
            zip(named.rows.tolist(), named.image_ids, named.origins, counts, *more.values(), strict=True)
        )

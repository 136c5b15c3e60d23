"""Read the CSV table that goes with a folder of images."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvlm_va.common.errors import unknown_name

# What a table says about an image -> its column.
Columns = Mapping[str, str | Sequence[str]]
DEFAULT_COLUMNS = {
    "path": "path",
    "label": "label",
    "group": "group",
    "split": "split",
    "mask_path": "mask_path",
}
_NEEDED = ("path", "label")


@dataclass(frozen=True)
class LabelledImage:
    """One row of the table.

    Attributes
    ----------
    line : int or None
        Line of the file that it ends on, from 1; None for an image that stands in no table.
    path : str
        Path of the image below the root, with forward slashes.
    label : str
        Class.
    group, split, mask_path : str or None
        None where the table has no such column; a `mask_path` is empty for an image without a mask.
    """

    line: int | None
    path: str
    label: str
    group: str | None = None
    split: str | None = None
    mask_path: str | None = None


def read_label_table(
    file: Path, columns: Columns, extension: str, classes: Mapping[str, str] | None = None
) -> list[LabelledImage]:
    """Return the rows of a CSV table.

    Parameters
    ----------
    file : Path
        Comma-separated, in UTF-8, with a header.
    columns : mapping of str to str or sequence of str
        Names of columns that are not called ``path``, ``label``, ``group``, ``split`` and ``mask_path``. For
        the label it may be a list of one-hot columns, whose names are then the classes.
    extension : str
        Added to each image path.
    classes : mapping of str to str or None, default=None
        Label in the table to class; rows with another label, or none, are left out.

    Returns
    -------
    list of LabelledImage
        In the order of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a key of `columns` is unknown, a column is missing, or a row is not as it should be; names file,
        line and column.
    """
    for key in columns:
        if key not in DEFAULT_COLUMNS:
            raise unknown_name("columns", key, DEFAULT_COLUMNS)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}: not a CSV table in UTF-8: {error}. Save it as 'CSV UTF-8'.") from error
    used = _used_columns(file, header, columns)
    images, first_line = [], dict[str, int]()
    for line, row in lines:
        if len(row) != len(header):
            raise ValueError(f"{file}, line {line}: has {len(row)} cells. The header has {len(header)}.")
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        image = _parse(f"{file}, line {line}", line, cells, used, extension, classes)
        if image is None:
            continue
        if image.path in first_line:
            raise ValueError(
                f"{file}, line {line}: lists {image.path!r} again, after line {first_line[image.path]}. "
                "Each image must have one row."
            )
        first_line[image.path] = line
        images.append(image)
    if lines and not images:
        raise ValueError(
            f"{file}: has no row whose label, in {used['label']!r}, is one of {sorted(classes or ())}. Name the labels "
            "to take and their classes with classes={...}."
        )
    if not images:
        raise ValueError(f"{file}: has no rows below its header.")
    return images


def _used_columns(file: Path, header: list[str], columns: Columns) -> dict[str, str | list[str]]:
    """Return the columns that are in the table; missing ones are an error if needed or asked for by name."""
    used: dict[str, str | list[str]] = {}
    for key, default in DEFAULT_COLUMNS.items():
        column = columns.get(key, default)
        names = [column] if isinstance(column, str) else list(column)
        missing = [name for name in names if name not in header]
        for name in names:
            if header.count(name) > 1:
                raise ValueError(f"{file}: has two columns called {name!r}.")
        if not missing and names:
            used[key] = column if isinstance(column, str) else names
        elif key in columns or key in _NEEDED:
            raise ValueError(
                f"{file}: has no column {missing} for the {key}. Its columns are {header}. Name the right "
                f"one with columns={{{key!r}: ...}}."
            )
    return used


def _parse(
    where: str,
    line: int,
    cells: Mapping[str, str],
    used: Mapping[str, str | list[str]],
    extension: str,
    classes: Mapping[str, str] | None,
) -> LabelledImage | None:
    """Return the image of a row, or None if its label is not among the wanted ones."""
    values: dict[str, str] = {}
    for key, column in used.items():
        if isinstance(column, str):
            values[key] = cells[column]
        elif key == "label":
            values[key] = _one_hot(where, cells, column)
        else:
            raise ValueError(
                f"The 'columns' argument must name one column for {key!r}. Got {column} instead."
            )
    if classes is not None:
        if values["label"] not in classes:
            return None
        values["label"] = classes[values["label"]]
    for key, value in values.items():
        if not value and key != "mask_path":
            raise ValueError(f"{where}: the column {used[key]!r} is empty. Each image must have a {key}.")
    values["path"] = _below_root(where, used["path"], values["path"] + extension)
    if values.get("mask_path"):
        values["mask_path"] = _below_root(where, used["mask_path"], values["mask_path"])
    return LabelledImage(line, **values)


def _one_hot(where: str, cells: Mapping[str, str], columns: Sequence[str]) -> str:
    chosen = []
    for column in columns:
        try:
            number = float(cells[column])
        except ValueError:
            number = -1.0
        if number not in (0, 1):
            raise ValueError(f"{where}: the column {column!r} must be 0 or 1. Got {cells[column]!r} instead.")
        if number:
            chosen.append(column)
    if len(chosen) != 1:
        raise ValueError(f"{where}: exactly one of the columns {columns} must be 1. Got {chosen} instead.")
    return chosen[0]


def _below_root(where: str, column: object, path: str) -> str:
    normal = posixpath.normpath(path)
    if posixpath.isabs(normal) or Path(normal).is_absolute() or normal.split("/")[0] == "..":
        raise ValueError(
            f"{where}: the column {column!r} must hold paths below the root folder. Got {path!r} instead."
        )
    return normal

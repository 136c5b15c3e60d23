"""Read the CSV table that goes with a folder of images."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.warnings import warn
from lvlm_va.datasets.finding_columns import FindingColumns

# What a table says about an image -> its column.
Columns = Mapping[str, str | Sequence[str]]
DEFAULT_COLUMNS = {
    "path": "path",
    "label": "label",
    "group": "group",
    "patient": "patient",
    "split": "split",
    "mask_path": "mask_path",
}
_NEEDED = ("path", "label")
_MAY_BE_EMPTY = ("patient", "mask_path")
_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class LabelledImage:
    """One row of the table.

    Attributes
    ----------
    line : int or None
        Line of the file that it ends on, from 1; None for an image that stands in no table.
    path : str
        Path of the image below the root, with forward slashes.
    label : str, or tuple of int
        Class; or 0 or 1 for each finding.
    group, split, mask_path, patient : str or None
        None where the table has no such column; a `mask_path` is empty for an image without a mask, a `patient` for
        one that nobody knows.
    """

    line: int | None
    path: str
    label: str | tuple[int, ...]
    group: str | None = None
    split: str | None = None
    mask_path: str | None = None
    patient: str | None = None


def read_label_table(
    file: Path,
    columns: Columns,
    extension: str,
    classes: Mapping[str, str] | None = None,
    findings: Sequence[str] | None = None,
    finding_values: Mapping[str, int] | None = None,
) -> list[LabelledImage]:
    """Return the rows of a CSV table.

    Parameters
    ----------
    file : Path
        With a header, whose cells commas, semicolons or tabs part. In UTF-8, or UTF-16 with a byte order mark; other
        text is read as Windows writes it in western Europe (cp1252), with a warning.
    columns : mapping of str to str or sequence of str
        Names of columns that are not called ``path``, ``label``, ``group``, ``patient``, ``split`` and ``mask_path``.
        For the label it may be a list of one-hot columns, whose names are then the classes.
    extension : str
        Added to each image path.
    classes : mapping of str to str or None, default=None
        Label in the table to class; rows with another label, or none, are left out.
    findings : sequence of str or None, default=None
        Several findings per image, instead of a label: see `FindingColumns`.
    finding_values : mapping of str to int or None, default=None
        What cells of findings other than 0 and 1 stand for.

    Returns
    -------
    list of LabelledImage
        In the order of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a key of `columns` is unknown, a column is missing, arguments exclude each other, or a row is not as it
        should be; names file, line and column.
    """
    for key in columns:
        if key not in DEFAULT_COLUMNS:
            raise unknown_name("columns", key, DEFAULT_COLUMNS)
    if (findings is None and finding_values) or (findings is not None and classes is not None):
        raise ValueError(
            "The 'finding_values' argument goes with 'findings', and 'classes' without. Got "
            f"findings={findings!r}, finding_values={finding_values!r} and classes={classes!r} instead."
        )
    (_, header), *lines = _read_lines(file)
    told = None
    if findings is not None:
        label = columns.get("label", DEFAULT_COLUMNS["label"])
        told = FindingColumns.of(file, header, findings, finding_values, label)
        columns = {key: column for key, column in columns.items() if key != "label"}
    used = _used_columns(file, header, columns, without_label=told is not None)
    images, first_line = [], dict[str, int]()
    for line, row in lines:
        if not any(row):
            continue
        if len(row) != len(header):
            raise ValueError(f"{file}, line {line}: has {len(row)} cells. The header has {len(header)}.")
        cells = dict(zip(header, row, strict=True))
        image = _parse(f"{file}, line {line}", line, cells, used, extension, classes, told)
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
    if told is not None:
        told.check_found(file, [image.label for image in images if isinstance(image.label, tuple)])
    return images


def _read_lines(file: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of each line that is not blank, with its number; the header, if only an empty one, first."""
    text = _decoded(file)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{file}, line {line}: not a CSV table: it holds a NUL character. Save it as 'CSV UTF-8'."
        )
    header = io.StringIO(text.lstrip("\r\n"), newline=None).readline()
    separator = max(_SEPARATORS, key=lambda mark: len(next(_reader([header], mark), [])))
    reader = _reader(io.StringIO(text, newline=""), separator, strict=True)
    # A cell may be of any length, such as a mask in run lengths. The limit is one for the whole process.
    limit = csv.field_size_limit(2**31 - 1)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: not a CSV table: {error}.") from error
    finally:
        csv.field_size_limit(limit)
    return lines or [(1, [])]


def _reader(lines: Iterable[str], separator: str, strict: bool = False) -> Any:
    # Quotation marks count behind a space too, as in `a.png, "ill, old"`.
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=strict)


def _decoded(file: Path) -> str:
    data = file.read_bytes()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line, found = data.count(b"\n", 0, error.start) + 1, error
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise ValueError(
            f"{file}, line {line}: not a CSV table in UTF-8: {found}. Save it as 'CSV UTF-8'."
        ) from found
    warn(
        f"{file}, line {line}: is not in UTF-8, and was read as Windows writes text in western Europe (cp1252). Save "
        "it as 'CSV UTF-8' if letters came out wrong."
    )
    return text


def _used_columns(
    file: Path, header: list[str], columns: Columns, *, without_label: bool
) -> dict[str, str | list[str]]:
    """Return the columns that are in the table; missing ones are an error if needed or asked for by name."""
    used: dict[str, str | list[str]] = {}
    taken = {name for asked in columns.values() for name in ([asked] if isinstance(asked, str) else asked)}
    for key, default in DEFAULT_COLUMNS.items():
        if key == "label" and without_label:
            continue
        if key not in columns and default in columns.values():
            continue  # it says something else here
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
        elif close := [name for name in header if _bare(name) == _bare(default) and name not in taken]:
            warn(
                f"{file}: the column {close[0]!r} is not read: its name is not quite {default!r}. If it says the "
                f"{key}, name it so, or with columns={{{key!r}: {close[0]!r}}}."
            )
    return used


def _bare(name: str) -> str:
    return "".join(filter(str.isalpha, name)).lower()


def _parse(
    where: str,
    line: int,
    cells: Mapping[str, str],
    used: Mapping[str, str | list[str]],
    extension: str,
    classes: Mapping[str, str] | None,
    told: FindingColumns | None,
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
        if not value and key not in _MAY_BE_EMPTY:
            raise ValueError(f"{where}: the column {used[key]!r} is empty. Each image must have a {key}.")
    values["path"] = _below_root(where, used["path"], values["path"] + extension)
    if values.get("mask_path"):
        values["mask_path"] = _below_root(where, used["mask_path"], values["mask_path"])
    if told is not None:
        return LabelledImage(line, label=told.read(where, cells), **values)
    return LabelledImage(line, **values)


def _one_hot(where: str, cells: Mapping[str, str], columns: Sequence[str]) -> str:
    chosen = []
    for column in columns:
        try:
            number = float(cells[column].replace(",", "."))
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
    normal = posixpath.normpath(path.replace("\\", "/"))
    if posixpath.isabs(normal) or PureWindowsPath(path).is_absolute() or normal.split("/")[0] == "..":
        raise ValueError(
            f"{where}: the column {column!r} must hold paths below the root folder. Got {path!r} instead."
        )
    return normal

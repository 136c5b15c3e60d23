"""Label tables as people leave them, and what they mean, found slowly, sharing no line with the library."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lvlm_va.datasets import open_image_folder

Rows = list[list[str]]
IMAGES = ["a.png", "b c.png", "sub/d.png", "\u00fc.png", "e,f.png", "7.png"]
MASK = "masks/one.png"
ONE_HOT = ["ill", "well"]
CELLS = [
    "", " ", "NaN", "null", "9" * 5000, "1e999", "-1", "0", "1", "1,0", "True", "holdout", "Train ", "../a.png",
    "C:\\a.png", "/a.png", "./a.png", "sub\\d.png", "x/../a.png", "no.png", 'so "called"', "a;b", "a\tb", "two\nlines",
    "\x00", "ill\x00", "\u200b", "\u2028", "\u00e4", "\U0001f9b4", "'ill'", "=1+1", " ill ", "#",
]  # fmt: skip
HEADERS = [
    "path",
    "label",
    "Path",
    "label ",
    "",
    "split",
    "file",
    "mask_path",
    "\ufeffpath",
    "group",
    "Mask path",
    "SPLIT",
]


class LabelTables:
    """Makes a folder's tables, reads them slowly, and by the library."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "labels.csv"
        for name in [*IMAGES, MASK]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2), 255, np.uint8)).save(folder / name)

    def make(self, chance: random.Random) -> tuple[bytes, bool]:
        """Return a table, and whether it is an odd one."""
        header = ["path", "label", *ONE_HOT, "group", "patient", "split", "mask_path"]
        rows = [header]
        for name in chance.sample(IMAGES, chance.randint(1, len(IMAGES))):
            label = chance.choice(ONE_HOT)
            hot = [chance.choice(["1", "1.0"]) if label == one else "0" for one in ONE_HOT]
            split = chance.choice(["train", "test", "Validation"])
            rows.append(
                [
                    name,
                    label,
                    *hot,
                    f"{label}/tag",
                    chance.choice(["", "p 1"]),
                    split,
                    chance.choice(["", MASK]),
                ]
            )
        left_out = [
            k
            for k in range(len(header))
            if header[k] not in ("path", "label", *ONE_HOT) and chance.random() < 0.5
        ]
        order = [k for k in range(len(header)) if k not in left_out]
        chance.shuffle(order)
        rows = [[row[k] for k in order] for row in rows]
        edits = chance.choice([0, 0, 1, 1, 2, 3])
        for _ in range(edits):
            rows = chance.choice(ROW_EDITS)(chance, rows)
        return self._written(chance, rows), bool(edits)

    @staticmethod
    def _written(chance: random.Random, rows: Rows) -> bytes:
        mark, end, every = chance.choice(",;\t"), chance.choice(["\n", "\r\n", "\r"]), chance.random() < 0.3
        gap = chance.choice(["", "", " "])
        text = ""
        for row in rows:
            quoted = [
                '"' + cell.replace('"', '""') + '"' if every or re.search('[",;\t\r\n]', cell) else cell
                for cell in row
            ]
            text += (mark + gap).join(quoted) + end
        encoding = chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"])
        return text.encode(encoding, "replace")

    def read(self, one_hot: bool) -> object:
        """Return what the library makes of the file."""
        columns = {"label": ONE_HOT} if one_hot else None
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            data = open_image_folder(self._folder, image_size=(2, 2), columns=columns)
        masks = data.read_masks()
        lists = [data.groups, data.patients, data.splits, masks if masks is None else masks.all((1, 2))]
        more = [None if values is None else values.tolist() for values in lists]
        return list(data.image_ids), data.labels.tolist(), *more, bool(told)

    def meanings(self, one_hot: bool) -> list[object]:
        """Return what the file may mean: nothing, where it is no table."""
        data = self.file.read_bytes()
        foreign = False
        try:
            text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
        except UnicodeDecodeError:
            foreign = True
            if set(data) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return []
            text = data.decode("cp1252")
        text = text if data[:1] in b"\xff\xfe" else text.removeprefix("\ufeff")
        found = [_meaning(_cells(text, mark), one_hot) for mark in ",;\t"] if "\0" not in text else []
        return [(*meaning, told or foreign) for *meaning, told in filter(None, found)]


def _cells(text: str, mark: str) -> Rows | None:
    """Return the cells of all lines, sign by sign; None where quotation marks do not pair."""
    rows: Rows = [[""]]
    quoted, closed, k = False, False, 0
    while k < len(text):
        sign = text[k]
        if quoted and text[k : k + 2] == '""':
            rows[-1][-1] += '"'
            k += 1
        elif quoted and sign == '"':
            quoted, closed = False, True
        elif quoted:
            rows[-1][-1] += sign
        elif sign == mark:
            rows[-1].append("")
            closed = False
        elif sign in "\r\n":
            rows.append([""])
            closed = False
        elif closed:
            return None
        elif sign == '"' and not rows[-1][-1].strip(" "):
            rows[-1][-1], quoted = "", True
        else:
            rows[-1][-1] += sign
        k += 1
    if quoted:
        return None
    return [[cell.strip() for cell in row] for row in rows]


def _meaning(rows: Rows | None, one_hot: bool) -> tuple[object, ...] | None:
    rows = [row for row in rows or [] if any(row)]
    if len(rows) < 2:
        return None
    header, lines = rows[0], rows[1:]
    wanted = ["path", *(ONE_HOT if one_hot else ["label"])]
    optional = ["group", "patient", "split", "mask_path"]
    if any(header.count(name) != 1 for name in wanted) or any(header.count(name) > 1 for name in optional):
        return None
    if any(len(row) != len(header) for row in lines):
        return None
    column = {
        name: [row[header.index(name)] for row in lines] for name in wanted + optional if name in header
    }
    labels = (
        [_hot([column[name][k] for name in ONE_HOT]) for k in range(len(lines))]
        if one_hot
        else column["label"]
    )
    paths, masks = [_inside(path) for path in column["path"]], column.get("mask_path")
    if len(set(paths)) < len(paths) or not set(paths) <= {*IMAGES, MASK}:
        return None
    if masks is not None and not {_inside(path) for path in masks if path} <= {*IMAGES, MASK}:
        return None
    groups, patients, splits = (column.get(name) for name in optional[:3])
    if not all([*labels, *(groups or []), *(splits or [])]):
        return None
    nearly = {re.sub("[^a-z]", "", name.lower()) for name in header}
    told = any(name not in header and name.replace("_", "") in nearly for name in optional)
    return paths, labels, groups, patients, splits, masks and [bool(path) for path in masks], told


def _hot(cells: list[str]) -> str:
    numbers = [cell.replace(",", ".") for cell in cells]
    if not all(
        re.fullmatch(r"[-+]?0*[01]?\.?0*(e[-+]?\d+)?", number) and re.search("[01]", number)
        for number in numbers
    ):
        return ""
    ones = [name for name, number in zip(ONE_HOT, numbers, strict=True) if float(number) == 1]
    return ones[0] if len(ones) == 1 else ""


def _inside(path: str) -> str | None:
    parts: list[str] = []
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", path):
        return None
    for part in re.split(r"[/\\]", path):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _edit_cell(chance: random.Random, rows: Rows) -> Rows:
    k = chance.randrange(len(rows))
    if rows[k]:
        rows[k][chance.randrange(len(rows[k]))] = chance.choice(HEADERS if k == 0 else CELLS)
    return rows


def _leave_out_column(chance: random.Random, rows: Rows) -> Rows:
    k = chance.randrange(max(map(len, rows)))
    return [row[:k] + row[k + 1 :] for row in rows]


def _repeat_column(chance: random.Random, rows: Rows) -> Rows:
    k = chance.randrange(max(map(len, rows)))
    return [row + row[k : k + 1] for row in rows]


def _ragged(chance: random.Random, rows: Rows) -> Rows:
    k = chance.randrange(len(rows))
    rows[k] = chance.choice(
        [rows[k][:-1], [*rows[k], ""], [*rows[k], "see below"], [], ["note"], [""] * len(rows[k])]
    )
    return rows


def _repeat_row(chance: random.Random, rows: Rows) -> Rows:
    return [*rows, list(chance.choice(rows))]


def _insert_row(chance: random.Random, rows: Rows) -> Rows:
    k = chance.randrange(len(rows) + 1)
    return [*rows[:k], chance.choice([[], [""] * len(rows[0]), ["sep=;"], ["Study 7"]]), *rows[k:]]


ROW_EDITS: list[Callable[[random.Random, Rows], Rows]] = [
    _edit_cell, _edit_cell, _edit_cell, _leave_out_column, _repeat_column, _ragged, _repeat_row, _insert_row,
]  # fmt: skip

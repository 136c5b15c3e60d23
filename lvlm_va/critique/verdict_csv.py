"""Verdicts as a table that spreadsheets and data frames read."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import fields

from lvlm_va.common.files import atomic_path
from lvlm_va.critique.types import SegmentVerdict

# What a spreadsheet would take for a formula; a model's words may begin with anything.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_verdicts(verdicts: Iterable[SegmentVerdict], path: str | os.PathLike[str]) -> None:
    """Write a CSV table in UTF-8 with a row per verdict and a column per attribute of `SegmentVerdict`."""
    names = [field.name for field in fields(SegmentVerdict)]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(names)
        table.writerows([_cell(getattr(verdict, name)) for name in names] for verdict in verdicts)


def _cell(value: object) -> object:
    if isinstance(value, str):
        value = value.replace("\0", "")
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value

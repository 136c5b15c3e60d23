"""One result, the table of all, and the file that keeps them from the moment that each stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.targets import TARGETS, is_floor
from lvlm_va.common.files import write_json


@dataclass(frozen=True)
class Record:
    """Ours and the other side of one benchmark, in the same unit and run.

    Attributes
    ----------
    name : str
        Its id.
    ours, peer : float
        Medians over the rounds (or one measured amount).
    unit : str
        Of both.
    spread : tuple of float
        Smallest and largest ratio of a single round: what the machine's other load did.
    note : str
        What must be known to read the figures.
    """

    name: str
    ours: float
    peer: float
    unit: str
    spread: tuple[float, float]
    note: str = ""

    @property
    def ratio(self) -> float:
        """peer / ours; of a floor ours / floor."""
        return ratio(self.name, self.ours, self.peer)


def ratio(name: str, ours: float, peer: float) -> float:
    """Return the ratio in the direction that the benchmark's target is stated in."""
    return ours / peer if is_floor(name) else peer / ours


def table(records: Sequence[Record]) -> str:
    """Return all results as text, one a line, and their notes below."""
    header = ["id", "ours", "peer", "unit", "ratio", "rounds", "least", "aim", "ok?"]
    lines = [header]
    for record in records:
        target = TARGETS.get(record.name)
        bounds = ["", "", ""]
        if target is not None:
            sign = "<= " if target.floor else ">= "
            bounds = [f"{sign}{target.least:g}", f"{sign}{target.aim:g}", target.verdict(record.ratio)]
        spread = "{:.3g}-{:.3g}".format(*record.spread)
        figures = [f"{value:.3g}" for value in (record.ours, record.peer, record.ratio)]
        lines.append([record.name, *figures[:2], record.unit, figures[2], spread, *bounds])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    notes = [f"{record.name}: {record.note}" for record in records if record.note]
    return "\n".join([*(row.rstrip() for row in rows), "", *notes])


def missing(records: Sequence[Record]) -> list[str]:
    """Return the ids that have a target and no record."""
    return [name for name in TARGETS if name not in {record.name for record in records}]


class Records:
    """The results of a run of benchmarks, kept in a file as they come.

    A run that was cut off is gone on with: what it found, under the same facts, is there already. One that has come to
    its end is not: its results are forgotten.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    facts : mapping
        All that results depend on.
    """

    def __init__(self, path: Path | None, facts: Mapping[str, Any]) -> None:
        self._path, self._facts = path, dict(facts)
        self.all: dict[str, Record] = {}
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            if kept["facts"] == self._facts and not kept["is_finished"]:
                self.all = {
                    name: Record(**{key: found[key] for key in Record.__dataclass_fields__})
                    for name, found in kept["results"].items()
                }

    def add(self, record: Record) -> None:
        """Keep a result, in the place of an earlier one of its name."""
        self.all[record.name] = record
        self.write()

    def write(self, *, is_finished: bool = False) -> None:
        """Write the file, whole or not at all."""
        if self._path is not None:
            results = {name: asdict(found) | {"ratio": found.ratio} for name, found in self.all.items()}
            write_json(self._path, {"facts": self._facts, "is_finished": is_finished, "results": results})

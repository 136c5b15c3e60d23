"""One result, and the table of all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.targets import TARGETS, is_floor


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


def write_latest(path: Path, records: Sequence[Record]) -> None:
    """Write the results as JSON, by id."""
    latest = {
        record.name: {
            "ratio": record.ratio,
            "ours": record.ours,
            "peer": record.peer,
            "unit": record.unit,
            "note": record.note,
        }
        for record in records
    }
    path.write_text(json.dumps(latest, indent=2) + "\n")

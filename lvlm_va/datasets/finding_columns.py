"""Several findings per image in a CSV table: a column of 0 and 1 for each, or one column that lists those present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Between the findings that one cell lists.
LISTED = "|"


@dataclass(frozen=True)
class FindingColumns:
    """How a table says which findings an image has.

    Attributes
    ----------
    findings : tuple of str
        Their names: columns, or what stands in the lists.
    listed_in : str or None
        The column of lists; None where each finding has a column.
    values : mapping of str or float to int
        0 or 1 for what other cells stand for.
    """

    findings: tuple[str, ...]
    listed_in: str | None
    values: Mapping[str | float, int]

    @classmethod
    def of(
        cls,
        file: Path,
        header: Sequence[str],
        findings: Sequence[str],
        values: Mapping[str, int] | None,
        label: str | Sequence[str],
    ) -> FindingColumns:
        """Return how a table with this header says it; `label` is the column of lists, if there is one.

        Raises
        ------
        ValueError
            If the findings are not two or more different names, a column is missing or comes twice, or `values` does
            not fit.
        """
        if isinstance(findings, str) or len(findings) < 2 or len(set(findings)) < len(findings):
            raise ValueError(
                "The 'findings' argument must be two or more different names; for one, name its column as the label. "
                f"Got {findings!r} instead."
            )
        missing = [name for name in findings if name not in header]
        twice = [name for name in findings if header.count(name) > 1]
        if twice:
            raise ValueError(f"{file}: has two columns called {twice[0]!r}.")
        odd = {cell: value for cell, value in (values or {}).items() if value not in (0, 1)}
        if odd:
            raise ValueError(f"The 'finding_values' argument must map cells to 0 or 1. Got {odd} instead.")
        if not missing:
            return cls(tuple(findings), None, {_number(cell): int(v) for cell, v in (values or {}).items()})
        if len(missing) < len(findings) or not isinstance(label, str) or label not in header:
            raise ValueError(
                f"{file}: has no column {missing} for the findings. Its columns are {list(header)}. Where one column "
                f"lists the findings, as in 'Mass{LISTED}Effusion', name it with columns={{'label': ...}}."
            )
        if values:
            raise ValueError(
                f"The 'finding_values' argument is for columns of 0 and 1. Got {values} for {label!r}, which lists "
                "findings."
            )
        return cls(tuple(findings), label, {})

    def read(self, where: str, cells: Mapping[str, str]) -> tuple[int, ...]:
        """Return for each finding whether a row has it: 0 or 1.

        Raises
        ------
        ValueError
            If a cell says neither.
        """
        if self.listed_in is not None:
            listed = {name.strip() for name in cells[self.listed_in].split(LISTED)}
            if listed == {""}:
                raise ValueError(f"{where}: the column {self.listed_in!r} is empty.")
            return tuple(int(finding in listed) for finding in self.findings)
        return tuple(self._present(where, finding, cells[finding]) for finding in self.findings)

    def check_found(self, file: Path, rows: Sequence[tuple[int, ...]]) -> None:
        """Raise ValueError where a finding stands in no list: its name may be another."""
        if self.listed_in is None:
            return
        for finding, present in zip(self.findings, zip(*rows, strict=True), strict=True):
            if not any(present):
                raise ValueError(f"{file}: no row lists {finding!r} in its column {self.listed_in!r}.")

    def _present(self, where: str, finding: str, cell: str) -> int:
        number = _number(cell)
        value = self.values.get(number, number)
        if value not in (0, 1):
            raise ValueError(
                f"{where}: the column {finding!r} must be 0 or 1. Got {cell!r} instead. Say what it stands for with "
                f"finding_values={{{cell!r}: 0}}, or 1."
            )
        return int(value)


def _number(cell: str) -> str | float:
    """Return a cell as a number where it is one, so that -1 and -1.0 are the same."""
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return cell

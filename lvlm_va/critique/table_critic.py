"""The critic that repeats what a person wrote into a verdict table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvlm_va.critique.places import segment_places
from lvlm_va.critique.types import Critique, CritiqueRequest, SegmentVerdict
from lvlm_va.critique.verdict_table import VerdictTable


@dataclass(frozen=True)
class TableCritic:
    """Take the verdicts from a verdict table's JSON file, as an expert edits it.

    The file is read whenever critiques are asked for, so edits count from then on. A segment that is not in
    the table is unsure, hence never masked.

    Parameters
    ----------
    path : str or path-like
        A file that :meth:`VerdictTable.save` wrote.

    Examples
    --------
    >>> TableCritic("verdicts.json").name
    'table'
    """

    path: str | os.PathLike[str]

    name = "table"

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise FileNotFoundError or ValueError if the file cannot be read as a verdict table."""
        VerdictTable.load(self.path)

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Look each segment of each request up in the table.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of Critique
            One per request, with a verdict on each segment; verdicts keep the source that the table gives.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not a verdict table, or judges a segment that an image does not have: then it was
            made for other segments.
        """
        table = VerdictTable.load(self.path)
        n_segments = {request.image_id: request.n_segments for request in requests}
        for verdict in table.verdicts:
            if verdict.segment > n_segments.get(verdict.image_id, verdict.segment):
                raise ValueError(
                    f"{os.fspath(self.path)}: judges segment {verdict.segment} of image "
                    f"{verdict.image_id!r}, which has {n_segments[verdict.image_id]} segments. The table "
                    "belongs to another run: its verdicts would be put on the wrong segments."
                )
        shown = {r.image_id: segment_places(r.segments, r.effect) for r in requests}
        try:
            VerdictTable(places=shown).require_same_segments(table.of_images(shown))
        except ValueError as error:
            raise ValueError(f"{os.fspath(self.path)}: {error}") from error
        return [self._look_up(table, request) for request in requests]

    def fingerprint(self) -> str:
        """Return a digest of the file's content, by which an edited table counts as another critic."""
        return hashlib.sha256(Path(self.path).expanduser().read_bytes()).hexdigest()

    def _look_up(self, table: VerdictTable, request: CritiqueRequest) -> Critique:
        missing = f"the table {os.fspath(self.path)} has no verdict on it"
        return Critique.from_verdicts(
            request.image_id,
            [
                table.get(request.image_id, segment)
                or SegmentVerdict(request.image_id, segment, "unsure", reason=missing, source=self.name)
                for segment in range(1, request.n_segments + 1)
            ],
        )

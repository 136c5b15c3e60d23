"""Everything an expert may correct: verdicts, class descriptions and the judge's examples."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from lvlm_va.common.files import atomic_path, reading
from lvlm_va.common.html import html_table
from lvlm_va.critique.places import Place, same_places
from lvlm_va.critique.policy import consistent
from lvlm_va.critique.types import VERDICTS, JudgeExample, SegmentVerdict, Verdict
from lvlm_va.critique.verdict_csv import write_verdicts
from lvlm_va.critique.verdict_json import table_from_json, table_to_json

# Rows that a notebook shows.
_MOST_ROWS = 30


@dataclass(frozen=True)
class VerdictTable:
    """The verdicts of a run, and the words they stand on, as one JSON file that a person can edit.

    Attributes
    ----------
    verdicts : tuple of SegmentVerdict
        At most one per segment of an image. They are kept together by image, in the order in which the images
        first come, and by segment within an image.
    specifications : mapping of str to str
        Class label -> what the expert says should count for this class.
    examples : tuple of JudgeExample
        Few-shot examples for the judge.
    places : mapping of str to tuple of (row, column, share)
        Image -> where each of its segments lies, in [0, 1], and its share of the effect: by these a table is known for
        one of the same segments. Nothing of an image about which that is not known. Tables are equal whatever it says.

    Raises
    ------
    TypeError
        If an entry has the wrong type.
    ValueError
        If two verdicts are on the same segment.

    Examples
    --------
    >>> table = VerdictTable((SegmentVerdict("scan-7", 1, "spurious", source="oracle"),))
    >>> table["scan-7", 1].verdict
    'spurious'
    >>> edited = table.replace([SegmentVerdict("scan-7", 1, "relevant", reason="It is the joint.")])
    >>> edited["scan-7", 1].source
    'human'
    """

    verdicts: tuple[SegmentVerdict, ...] = ()
    specifications: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[JudgeExample, ...] = ()
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict, repr=False, compare=False)
    _by_key: dict[tuple[str, int], SegmentVerdict] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_entries("verdicts", self.verdicts, SegmentVerdict)
        _check_entries("examples", self.examples, JudgeExample)
        for label, description in self.specifications.items():
            if not isinstance(label, str) or not isinstance(description, str):
                raise TypeError(
                    "The 'specifications' argument must map class labels to descriptions, both as text. Got "
                    f"{label!r}: {description!r} instead."
                )
        place = {image_id: i for i, image_id in enumerate(dict.fromkeys(v.image_id for v in self.verdicts))}
        verdicts = tuple(sorted(self.verdicts, key=lambda v: (place[v.image_id], v.segment)))
        by_key = {(v.image_id, v.segment): v for v in verdicts}
        if len(by_key) < len(verdicts):
            twice = next(
                a for a, b in pairwise(verdicts) if (a.image_id, a.segment) == (b.image_id, b.segment)
            )
            raise ValueError(
                "The 'verdicts' argument must hold at most one verdict per segment. Got two on segment "
                f"{twice.segment} of image {twice.image_id!r} instead. Use replace() to correct a verdict."
            )
        object.__setattr__(self, "verdicts", verdicts)
        object.__setattr__(self, "specifications", dict(self.specifications))
        object.__setattr__(self, "examples", tuple(self.examples))
        object.__setattr__(self, "_by_key", by_key)

    def __getitem__(self, key: tuple[str, int]) -> SegmentVerdict:
        """Return the verdict on ``table[image_id, segment]``; KeyError where there is none."""
        return self._by_key[key]

    def get(self, image_id: str, segment: int) -> SegmentVerdict | None:
        """Return the verdict on a segment, or None where there is none."""
        return self._by_key.get((image_id, segment))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the verdicts as a CSV table in UTF-8, a row each, with the columns of `SegmentVerdict`'s attributes.

        A text that a spreadsheet would take for a formula (``=``, ``+``, ``-``, ``@``) gets an apostrophe in front.

        Parameters
        ----------
        path : path-like
            The file.
        """
        write_verdicts(self.verdicts, path)

    def counts(self) -> dict[Verdict, int]:
        """Return how many segments have each verdict, 0 included."""
        return {verdict: sum(v.verdict == verdict for v in self.verdicts) for verdict in VERDICTS}

    def replace(self, edits: Iterable[SegmentVerdict], *, source: str = "human") -> VerdictTable:
        """Return a table in which the edits stand in the place of the verdicts they correct.

        Parameters
        ----------
        edits : iterable of SegmentVerdict
            Corrected verdicts, and verdicts on segments that had none.
        source : str, default="human"
            Who made the edits; entered as each edit's source.

        Returns
        -------
        VerdictTable
            A new table; this one stays as it is.

        Raises
        ------
        ValueError
            If two edits are on the same segment.
        """
        edited = VerdictTable(tuple(replace(edit, source=source) for edit in edits))
        return replace(self, verdicts=tuple({**self._by_key, **edited._by_key}.values()))

    def corrected_by(self, edits: VerdictTable) -> VerdictTable:
        """Return the table with all that another one says otherwise.

        Parameters
        ----------
        edits : VerdictTable
            Verdicts on segments of this table; those that differ count as a human's, and lose a content from which no
            policy draws them. Its specifications and examples replace this table's where it has any.

        Returns
        -------
        VerdictTable
            A new table.

        Raises
        ------
        ValueError
            If a verdict is on a segment that this table does not have, or the tables were made for different segments.
        """
        self.require_same_segments(edits)
        changed = []
        for edit in edits.verdicts:
            old = self.get(edit.image_id, edit.segment)
            if old is None:
                raise ValueError(
                    "The 'verdicts' argument must be on segments that were critiqued. "
                    f"Got one on segment {edit.segment} of image {edit.image_id!r} instead."
                )
            said = (edit.verdict, edit.p_spurious, edit.reason, edit.content or old.content)
            if said != (old.verdict, old.p_spurious, old.reason, old.content):
                changed.append(consistent(edit))
        return replace(
            self.replace(changed),
            specifications=edits.specifications or self.specifications,
            examples=edits.examples or self.examples,
        )

    def require_same_segments(self, other: VerdictTable) -> None:
        """Raise unless another table was made for the segments of this one, as far as both know.

        Parameters
        ----------
        other : VerdictTable
            The other table.

        Raises
        ------
        ValueError
            If segments of an image differ that both judge.
        """
        judged = dict.fromkeys(verdict.image_id for verdict in other.verdicts)
        known = [image_id for image_id in judged if image_id in self.places and image_id in other.places]
        differing = [name for name in known if not same_places(self.places[name], other.places[name])]
        if differing:
            raise ValueError(
                "The 'verdicts' argument must be a table that was made for these very segments. Got one that was made "
                f"for other segments of {len(differing)} of its {len(judged)} images, {differing[0]!r} for one: it "
                "belongs to another run, and its verdicts would be put on the wrong pixels."
            )

    def of_images(self, image_ids: Container[str]) -> VerdictTable:
        """Return the table with what it says of these images alone."""
        return replace(
            self,
            verdicts=tuple(verdict for verdict in self.verdicts if verdict.image_id in image_ids),
            places={name: places for name, places in self.places.items() if name in image_ids},
        )

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())
        left_out = f"; the first {_MOST_ROWS}" if len(self.verdicts) > _MOST_ROWS else ""
        return html_table(
            f"{len(self.verdicts)} verdicts: {counts}{left_out}",
            ("image", "segment", "verdict", "content", "p_spurious", "source", "reason"),
            [
                (
                    verdict.image_id,
                    verdict.segment,
                    verdict.verdict,
                    verdict.content,
                    "" if verdict.p_spurious is None else f"{verdict.p_spurious:.2f}",
                    verdict.source,
                    verdict.reason,
                )
                for verdict in self.verdicts[:_MOST_ROWS]
            ],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as indented JSON, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file; replaced where it exists.
        """
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.to_json())

    def to_json(self) -> bytes:
        """Return what `save` writes."""
        return table_to_json(self.verdicts, self.specifications, self.examples, self.places)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VerdictTable:
        """Read a table that `save` wrote and a person may have edited.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        VerdictTable
            Equal to the one that was saved.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        UnreadableFileError
            If it cannot be opened.
        ValueError
            If it is not such a table: not JSON, another format version, a key that is unknown, missing or
            given twice, a value of the wrong type, an unknown verdict, an image or a segment listed twice.
            The message names the file, the image, the segment and the field.
        """
        with reading(Path(path).expanduser(), "Remove it, or restore it from a copy."):
            data = Path(path).expanduser().read_bytes()
        return cls(*table_from_json(data, str(path)))


def _check_entries(argument: str, entries: Iterable[object], kind: type) -> None:
    for entry in entries:
        if not isinstance(entry, kind):
            raise TypeError(
                f"The {argument!r} argument must hold {kind.__name__} objects. Got {type(entry).__name__} "
                "instead."
            )

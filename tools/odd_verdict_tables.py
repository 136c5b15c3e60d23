"""Verdict tables as people leave them, and what they mean, found slowly, sharing no line with the library."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lvlm_va.critique import JudgeExample, SegmentVerdict, VerdictTable
from lvlm_va.critique.types import CONTENTS

VALUES: list[Any] = [
    None, True, 0, 1, -1, 1.0, 0.5, 10**30, 10**400, float("nan"), float("inf"), "", "1", " Spurious", "RELEVANT",
    "bad", "mixed", [], ["x"], {}, {"a": 1}, "\ud83d", "\x00",
]  # fmt: skip
KEYS = [
    "verdict",
    "p_spurious",
    "reason",
    "segment",
    "source",
    "status",
    "content",
    "note",
    "image_id",
    "made_for",
]


class VerdictTables:
    """Makes verdict tables, reads them slowly, and by the library."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "verdicts.json"

    def make(self, chance: random.Random) -> tuple[bytes, bool]:
        """Return a table, and whether it is an odd one."""
        table = VerdictTable(
            tuple(
                SegmentVerdict(
                    image, k, chance.choice(["spurious", "relevant", "unsure"]), chance.choice([None, 0.25])
                )
                for image in ("a.png", "sub/d.png", "\u00fc.png")[: chance.randint(1, 3)]
                for k in range(1, chance.randint(2, 4))
            ),
            {"ill": "The \u201cjoint\u201d."},
            (JudgeExample("It is a tag.", "spurious"),),
            {"a.png": ((0.25, 0.5, 1.0),)},
        )
        data = table.to_json()
        edits = chance.choice([0, 1, 1, 2, 3])
        if edits:
            found = json.loads(data)
            for _ in range(edits):
                self._edit(chance, found)
            data = json.dumps(found, indent=chance.choice([None, 2, "\t"]), ensure_ascii=False).encode(
                "utf-8", "backslashreplace"
            )
        return data, bool(edits)

    @staticmethod
    def _edit(chance: random.Random, table: dict[str, Any]) -> None:
        objects = list(_objects(table))
        chosen = chance.choice(objects)
        key = chance.choice([*chosen, chance.choice(KEYS)])
        what = chance.randrange(4)
        if what == 0:
            chosen.pop(key, None)
        elif what == 1:
            chosen[key] = chance.choice(VALUES)
        elif what == 2 and key in chosen:
            chosen[chance.choice([key.title(), key + " ", chance.choice(KEYS)])] = chosen.pop(key)
        else:
            lists = [value for one in objects for value in one.values() if isinstance(value, list) and value]
            for some in lists[:1] if chance.random() < 0.5 else lists[-1:]:
                some.append(json.loads(json.dumps(chance.choice([some[0], chance.choice(VALUES)]))))

    def read(self, _: bool) -> object:
        """Return what the library makes of the file."""
        table = VerdictTable.load(self.file)
        again = self.file.with_name("again.json")
        table.save(again)
        verdicts = {
            (v.image_id, v.segment): (v.verdict, v.p_spurious, v.reason, v.source, v.status, v.content)
            for v in table.verdicts
        }
        examples = [(e.critique, e.verdict, e.note) for e in table.examples]
        return verdicts, dict(table.specifications), examples, VerdictTable.load(again) == table

    def meanings(self, _: bool) -> list[object]:
        """Return what the file may mean: nothing, where it is no table."""
        try:
            text = self.file.read_bytes().decode("utf-8").removeprefix("\ufeff")
            return [(*_judged(json.loads(text, object_pairs_hook=_unique)), True)]
        except (ValueError, RecursionError):
            return []


def _judged(table: object) -> tuple[object, ...]:
    kinds: dict[str, Kinds] = {
        "format": _TEXT,
        "version": ([int], None),
        "specifications": ([dict], {}),
        "examples": ([list], []),
    }
    form, version, specifications, examples, images = _taken(table, **kinds, images=([list], None))
    _require((form, version) == ("lvlm_va verdict table", 1))
    _require(all(type(said) is str for said in specifications.values()))
    shown = [_taken(one, critique=_TEXT, verdict=_TEXT, note=_MAYBE) for one in examples]
    verdicts: dict[tuple[str, int], object] = {}
    names = []
    for image in images:
        name, made_for, segments = _taken(image, image_id=_TEXT, made_for=_MAYBE, segments=([list], None))
        _require(
            all(re.fullmatch(r"[01]\.[0-9]{3}( [01]\.[0-9]{3}){2}|", said) for said in made_for.split(", "))
        )
        names.append(name)
        for one in segments:
            words: dict[str, Kinds] = dict.fromkeys(["reason", "source", "status", "content"], _MAYBE)
            number, verdict, p, *more = _taken(
                one, segment=([int], None), verdict=_TEXT, p_spurious=([int, float, type(None)], 0), **words
            )
            p = p if "p_spurious" in one else None
            _require(number >= 1 and (name, number) not in verdicts and more[-1] in ("", *CONTENTS))
            _require(p is None or 0 <= p <= 1)
            verdicts[name, number] = (_word(verdict), p, *more)
    _require(len(set(names)) == len(names))
    return verdicts, specifications, [(critique, _word(verdict), note) for critique, verdict, note in shown]


# The types that a value may have, and what stands for it where it is left out; None where it may not be.
Kinds = tuple[list[type], Any]
_TEXT: Kinds = ([str], None)
_MAYBE: Kinds = ([str], "")


def _taken(value: Any, **kinds: Kinds) -> list[Any]:
    _require(type(value) is dict and set(value) <= set(kinds))
    found = [
        value.get(key, default) if key not in value else value[key] for key, (_, default) in kinds.items()
    ]
    _require(all(type(one) in types for one, (types, _) in zip(found, kinds.values(), strict=True)))
    return found


def _word(text: str) -> str:
    word = text.strip().lower()
    _require(word in ("spurious", "relevant", "unsure"))
    return word


def _require(true: bool) -> None:
    if not true:
        raise ValueError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _require(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)

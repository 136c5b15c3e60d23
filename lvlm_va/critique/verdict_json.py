"""The JSON text of a verdict table: written for a person's eyes, read strictly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from lvlm_va.critique.places import Place, places_from_text, places_to_text
from lvlm_va.critique.types import JudgeExample, SegmentVerdict

FORMAT = "lvlm_va verdict table"
VERSION = 1

Contents = tuple[
    tuple[SegmentVerdict, ...], dict[str, str], tuple[JudgeExample, ...], dict[str, tuple[Place, ...]]
]

_T = TypeVar("_T")

# What each object may hold: key -> (the types that JSON may give it, whether it must be there).
_Fields = dict[str, tuple[tuple[type, ...], bool]]
_TABLE: _Fields = {
    "format": ((str,), True),
    "version": ((int,), True),
    "specifications": ((dict,), False),
    "examples": ((list,), False),
    "images": ((list,), True),
}
_IMAGE: _Fields = {"image_id": ((str,), True), "made_for": ((str,), False), "segments": ((list,), True)}
_SEGMENT: _Fields = {
    "segment": ((int,), True),
    "verdict": ((str,), True),
    "p_spurious": ((float, int, type(None)), False),
    "reason": ((str,), False),
    "source": ((str,), False),
    "status": ((str,), False),
    "content": ((str,), False),
}
_EXAMPLE: _Fields = {"critique": ((str,), True), "verdict": ((str,), True), "note": ((str,), False)}
_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def table_to_json(
    verdicts: Iterable[SegmentVerdict],
    specifications: Mapping[str, str],
    examples: Iterable[JudgeExample],
    places: Mapping[str, Sequence[Place]],
) -> bytes:
    """Return the UTF-8 JSON text of a table, one object per image with its segments."""
    images: dict[str, list[dict[str, Any]]] = {}
    for verdict in verdicts:
        images.setdefault(verdict.image_id, []).append(
            {
                "segment": int(verdict.segment),
                "verdict": verdict.verdict,
                "p_spurious": None if verdict.p_spurious is None else float(verdict.p_spurious),
                "reason": verdict.reason,
                "source": verdict.source,
            }
            | {name: said for name in ("status", "content") if (said := getattr(verdict, name))}
        )
    table = {
        "format": FORMAT,
        "version": VERSION,
        "specifications": dict(specifications),
        "examples": [{"critique": e.critique, "verdict": e.verdict, "note": e.note} for e in examples],
        "images": [
            {"image_id": image_id}
            | ({"made_for": places_to_text(places[image_id])} if image_id in places else {})
            | {"segments": segments}
            for image_id, segments in images.items()
        ],
    }
    text = json.dumps(table, indent=2, ensure_ascii=False) + "\n"
    # Half a surrogate pair, as a model's cut-off answer may hold, has no UTF-8 form; "\ud83d" is JSON's own
    # escape.
    return text.encode("utf-8", "backslashreplace")


def table_from_json(data: bytes, file: str) -> Contents:
    """Return the verdicts, specifications, examples and places of a table's text.

    Parameters
    ----------
    data : bytes
        The text, in UTF-8.
    file : str
        Name of the file, for messages.

    Raises
    ------
    ValueError
        If the text is not such a table; names the file, the image, the segment and the field.
    """
    table = _decode(data, file)
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ValueError(f'{file}: not a verdict table, which is a JSON object with "format": "{FORMAT}".')
    if table.get("version") != VERSION:
        raise ValueError(
            f"{file}: 'version' must be {VERSION}, the one this lvlm_va reads. Got {table.get('version')!r} "
            "instead."
        )
    _check_fields(table, _TABLE, file)
    specifications = table.get("specifications", {})
    _check_fields(specifications, dict.fromkeys(specifications, ((str,), True)), f"{file}, specifications")
    examples = tuple(
        _build(JudgeExample, example, _EXAMPLE, f"{file}, example {number}")
        for number, example in enumerate(table.get("examples", []), start=1)
    )
    places: dict[str, tuple[Place, ...]] = {}
    return tuple(_verdicts(table["images"], file, places)), specifications, examples, places


def _decode(data: bytes, file: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key {key!r} stands twice in one object.")
            found[key] = value
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number that JSON knows.")

    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file}: not UTF-8 text ({error}). Save the file with the encoding UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}: not valid JSON: {error}. Look at that line and at the end of the one above: a comma or a "
            'straight quotation mark (") may be missing.'
        ) from error
    except ValueError as error:
        raise ValueError(f"{file}: not valid JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{file}: not a verdict table: its brackets are nested too deep.") from None


def _verdicts(images: list[Any], file: str, places: dict[str, tuple[Place, ...]]) -> Iterable[SegmentVerdict]:
    seen: set[tuple[str, int | None]] = set()
    for number, image in enumerate(images, start=1):
        _check_fields(image, _IMAGE, f"{file}, image number {number}")
        image_id = image["image_id"]
        if (image_id, None) in seen:
            raise ValueError(
                f"{file}: image {image_id!r} is listed twice. Put all its segments into one object."
            )
        seen.add((image_id, None))
        if "made_for" in image:
            with _named(f"{file}, image {image_id!r}"):
                places[image_id] = places_from_text(image["made_for"])
        for place, segment in enumerate(image["segments"], start=1):
            where = f"{file}, image {image_id!r}, entry {place} of 'segments'"
            verdict = _build(SegmentVerdict, segment, _SEGMENT, where, image_id=image_id)
            if (image_id, verdict.segment) in seen:
                raise ValueError(f"{file}: segment {verdict.segment} of image {image_id!r} is listed twice.")
            seen.add((image_id, verdict.segment))
            yield verdict


def _build(kind: type[_T], value: Any, fields: _Fields, where: str, **more: Any) -> _T:
    _check_fields(value, fields, where)
    if "verdict" in value:  # people write "Spurious "
        value = {**value, "verdict": value["verdict"].strip().lower()}
    with _named(where):
        return kind(**value, **more)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError) as error:  # such as a whole number that is too large for a float
        raise ValueError(f"{where}: {error}") from error


def _check_fields(value: Any, fields: _Fields, where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be an object with the keys {list(fields)}. Got {value!r} instead.")
    for key in value:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}. The keys are {list(fields)}.")
    for key, (kinds, required) in fields.items():
        if key not in value:
            if required:
                raise ValueError(f"{where}: the key {key!r} is missing.")
        elif type(value[key]) not in kinds:  # exactly: JSON's true is not a whole number
            expected = " or ".join(_NAMES[kind] for kind in kinds)
            raise ValueError(f"{where}: {key!r} must be {expected}. Got {value[key]!r} instead.")

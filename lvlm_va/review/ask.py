"""Ask the critic again about some images of a run, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lvlm_va.backends import Estimate, Prices
from lvlm_va.critique import (
    Critic,
    Critique,
    Judge,
    JudgeExample,
    ParserJudge,
    SegmentVerdict,
    VerdictTable,
    collect_critiques,
    judge_critiques,
)
from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.critique.optional_methods import takes_examples
from lvlm_va.critique.resolve import resolve_critic_and_judge
from lvlm_va.report.run_record import RunRecord, read_run
from lvlm_va.review.changes import Address, Values, verdict_value
from lvlm_va.rounds.cost import estimate_critiques

_CHUNK = 8

Askers = tuple[Critic, Judge | None]


def make_askers(models: ModelOptions) -> Askers:
    """Return who is asked; ValueError without a critic."""
    critic, judge = models.make()
    if critic is None:
        raise ValueError("The 'models' argument must name a critic. Got none instead.")
    return critic, judge


def estimate(
    record: RunRecord, image_ids: Sequence[str], table: VerdictTable, askers: Askers, prices: Prices | None
) -> Estimate:
    """Return about what asking would take.

    Parameters
    ----------
    record : RunRecord
        The run.
    image_ids : sequence of str
        The images.
    table : VerdictTable
        Holds the descriptions of the classes, and the judge's examples.
    askers : (Critic, Judge or None)
        Who is asked.
    prices : Prices or None
        What the models' provider charges.
    """
    critic, judge = with_examples(askers, table)
    total = Estimate()
    for row in _rows(record, image_ids):
        request = record.request(row, table.specifications)
        total += estimate_critiques(critic, judge, [request], prices)
    return total


def question(folder: Path, image_ids: Sequence[str], table: VerdictTable, models: ModelOptions) -> str:
    """Return the line by which another process is told what to ask.

    Parameters
    ----------
    folder : Path
        The run directory.
    image_ids, table
        As in `estimate`.
    models : ModelOptions
        Who is asked.
    """
    return json.dumps(
        {
            "folder": str(folder.resolve()),
            "images": list(image_ids),
            "specifications": dict(table.specifications),
            "examples": [asdict(example) for example in table.examples],
            "models": asdict(replace(models, examples=None)),
        }
    )


def answer(line: str) -> None:
    """Ask what a line of `question` says; write a JSON line per few images to the standard output."""
    asked = json.loads(line)
    models = ModelOptions(**asked["models"])
    examples = tuple(JudgeExample(**example) for example in asked["examples"])
    table = VerdictTable((), asked["specifications"], examples)
    record = read_run(asked["folder"])
    found, judge = with_examples(make_askers(models), table)
    critic, judge = resolve_critic_and_judge(found, judge, asked["folder"])
    assert critic is not None
    if isinstance(judge, ParserJudge):
        judge = replace(judge, policy=record.policy)
    rows = _rows(record, asked["images"])
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        critiques = _critiques(critic, judge, record, chunk, table)
        sys.stdout.write(json.dumps({"critiques": [asdict(critique) for critique in critiques]}) + "\n")
        sys.stdout.flush()


def read_answer(line: str) -> Values:
    """Return the verdicts and the critiques in a line that `answer` wrote; none in any other line.

    What failed for want of an answer is left out.
    """
    try:
        found = json.loads(line)["critiques"]
    except (ValueError, KeyError, TypeError):
        return {}
    values: Values = {}
    for critique in found:
        verdicts = [SegmentVerdict(**fields) for fields in critique["verdicts"]]
        if "failed" in [said["status"] for said in critique["statements"]] + [v.status for v in verdicts]:
            continue
        values[Address("critique", critique["image_id"])] = critique["text"]
        for verdict in verdicts:
            values[Address("verdict", verdict.image_id, verdict.segment)] = verdict_value(verdict)
    return values


def kept_by_person(new: Mapping[Address, Any], present: Mapping[Address, Any]) -> Values:
    """Return the new values without those of verdicts that a person gave."""
    return {
        address: value
        for address, value in new.items()
        if address.kind != "verdict" or present.get(address, {}).get("source") != "human"
    }


def with_examples(askers: Askers, table: VerdictTable) -> Askers:
    """Return who is asked, a judge that takes examples with the table's."""
    critic, judge = askers
    if takes_examples(judge) and table.examples:
        judge = judge.with_examples(table.examples)
    return critic, judge


def _rows(record: RunRecord, image_ids: Sequence[str]) -> list[int]:
    places = {name: row for row, name in enumerate(record.image_ids)}
    return [places[name] for name in image_ids]


def _critiques(
    critic: Critic, judge: Judge | None, record: RunRecord, rows: Sequence[int], table: VerdictTable
) -> list[Critique]:
    critiques = collect_critiques(
        critic,
        [record.image_ids[row] for row in rows],
        lambda places: [record.request(rows[place], table.specifications) for place in places],
    )
    if judge is not None:
        critiques = judge_critiques(judge, critiques, record.segmentation.n_segments[list(rows)].tolist())
    return critiques

"""The main table: every method on every data set, several seeds each."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from lvlm_va import __version__
from lvlm_va._files import write_json
from lvlm_va._fingerprint import fingerprint
from lvlm_va.attribution import ReferenceSet
from lvlm_va.comparison import NotApplicableError
from lvlm_va.datasets import DecoyData
from lvlm_va.experiments.evaluation import evaluate
from lvlm_va.experiments.methods import METHODS, Fitted, Method, plain_training
from lvlm_va.experiments.tasks import Task
from lvlm_va.report.bars import grouped_bars

Row = dict[str, Any]

COLUMNS = {
    "accuracy": "accuracy",
    "worst_group_accuracy": "WGA",
    "average_group_accuracy": "AGA",
    "worst_group_gain": "ΔWGA",
    "average_group_gain": "ΔAGA",
    "alignment": "μ",
    "n_critiqued": "images looked at",
    "seconds": "seconds",
}


def run_main_table(
    tasks: Mapping[str, Task],
    *,
    seeds: int,
    out: str | os.PathLike[str],
    echo: Callable[[str], Any],
    methods: Mapping[str, Method] = METHODS,
) -> dict[str, dict[str, list[Row]]]:
    """Fit every method to every data set and write ``metrics.json``, ``table.md`` and ``worst_group.png``.

    Parameters
    ----------
    tasks : mapping of str to Task
        Data sets by name.
    seeds : int
        Number of seeds, from 0.
    out : path-like
        Folder. A row that an earlier run has written there is not made again.
    echo : callable
        Gets each line of text.
    methods : mapping of str to callable
        Methods by name; ``"erm"`` must be the first, for the gains are over it.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for each data set and method one mapping per seed, of measures to values; where a
        method is not applicable it holds ``"not_applicable"`` and why.
    """
    out = Path(out)
    results: dict[str, dict[str, list[Row]]] = {task: {method: [] for method in methods} for task in tasks}
    for task_name, task in tasks.items():
        for seed in range(seeds):
            runner = _Runner(task, seed)
            for name, method in methods.items():
                key = fingerprint(__version__, task.settings, task.n_align, task.propagate, name, seed)
                path = out / "rows" / f"{task_name}-{name}-{seed}-{key}.json"
                row = _kept(path, partial(runner.row, method))
                if "not_applicable" not in row:
                    plain = results[task_name]["erm"][seed] if name != "erm" else row
                    for gain, measure in _GAINS.items():
                        row[gain] = row[measure] - plain[measure]
                results[task_name][name].append(row)
                echo(f"{task_name}, seed {seed}, {name.replace('_', ' ')}: {_in_words(row)}")
    write_json(out / "metrics.json", results)
    table = "\n\n".join(f"### {name}\n\n{_table(rows)}" for name, rows in results.items())
    (out / "table.md").write_text(table + "\n")
    echo("\n" + table)
    _draw(results, out / "worst_group.png")
    return results


_GAINS = {"worst_group_gain": "worst_group_accuracy", "average_group_gain": "average_group_accuracy"}


class _Runner:
    """One task with one seed; its data and its plainly trained net are made when first needed."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._seed = task, seed
        self._load: Callable[[Any], DecoyData] = cache(lambda split: task.load(split, seed))
        self._erm: Callable[[], Fitted] = cache(lambda: plain_training(task, self._load("train"), seed))
        self._references = cache(self._choose_references)

    def row(self, method: Method) -> Row:
        """Fit a method and measure it."""
        erm = self._erm()
        try:
            fitted = method(self._task, self._load("train"), erm, self._seed)
        except NotApplicableError as error:
            return {"not_applicable": str(error)}
        figures = evaluate(fitted.module, self._load("test"), self._references()).figures()
        return {**figures, "n_critiqued": fitted.n_critiqued, "seconds": round(fitted.seconds, 2)}

    def _choose_references(self) -> ReferenceSet:
        data = self._load("train")
        images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
        return ReferenceSet.choose("class_balanced", images, labels, 20, seed=self._seed)


def _kept(path: Path, make: Callable[[], Row]) -> Row:
    if not path.exists():
        write_json(path, make())
    row: Row = json.loads(path.read_text())
    return row


def _in_words(row: Row) -> str:
    if "not_applicable" in row:
        return f"not applicable. {row['not_applicable']}"
    return ", ".join(f"{COLUMNS[name]} {_shown(name, [row[name]])}" for name in COLUMNS)


def _table(methods: Mapping[str, Sequence[Row]]) -> str:
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" + "|---:" * len(COLUMNS) + "|"]
    for name, rows in methods.items():
        rows = [row for row in rows if "not_applicable" not in row]
        cells = [_shown(column, [row[column] for row in rows]) if rows else "-" for column in COLUMNS]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(column: str, values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    if column in ("n_critiqued", "seconds"):
        return f"{mean:.0f}"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean:{'+' if column in _GAINS else ''}.3f}{spread}"


def _draw(results: Mapping[str, Mapping[str, Sequence[Row]]], path: Path) -> None:
    heights = {
        task: {
            name.replace("_", " "): [
                row["worst_group_accuracy"] for row in rows if "not_applicable" not in row
            ]
            for name, rows in methods.items()
        }
        for task, methods in results.items()
    }
    grouped_bars(heights, path, label="worst-group accuracy")

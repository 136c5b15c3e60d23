"""Fit methods to data sets, several seeds each, and write what came of it: figures, a table and a picture."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed

from lvlm_va.attribution import ReferenceSet
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.files import write_json
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.threads import one_thread
from lvlm_va.comparison import NotApplicableError
from lvlm_va.data.inputs import draw_seed
from lvlm_va.datasets import DecoyData
from lvlm_va.experiments.evaluation import evaluate
from lvlm_va.experiments.methods import Fitted, Method, plain_training
from lvlm_va.experiments.origin import origin
from lvlm_va.experiments.tasks import Task
from lvlm_va.runs.environment import environment

Row = dict[str, Any]
# data set to method to one row per seed
Results = dict[str, dict[str, list[Row]]]

HEADINGS = {
    "accuracy": "accuracy",
    "worst_class_accuracy": "worst class",
    "worst_group_accuracy": "WGA",
    "average_group_accuracy": "AGA",
    "worst_group_gain": "ΔWGA",
    "average_group_gain": "ΔAGA",
    "alignment": "μ",
    "spurious_images": "spurious images",
    "spurious_effect": "spurious effect",
    "purity": "purity",
    "masked": "masked",
    "n_critiqued": "images looked at",
    "seconds": "seconds",
}
FIGURES = (
    "accuracy",
    "worst_group_accuracy",
    "average_group_accuracy",
    "worst_group_gain",
    "average_group_gain",
    "alignment",
    "n_critiqued",
    "seconds",
)
_GAINS = {"worst_group_gain": "worst_group_accuracy", "average_group_gain": "average_group_accuracy"}


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes
    ----------
    methods : mapping of str to callable
        Methods by name. The first is plain training, over which gains are measured.
    draw : callable or None
        ``(results, path)``, draws the picture; None: there is none.
    columns : sequence of str
        The measures in the table, of `HEADINGS`.
    settings : mapping of str to object
        What was chosen for the methods, to be noted in ``about.json``.
    """

    methods: Mapping[str, Method]
    draw: Callable[[Results, Path], None] | None = None
    columns: Sequence[str] = FIGURES
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        """Name of the method over which gains are measured."""
        return next(iter(self.methods))

    def only(self, methods: Sequence[str] | None) -> Comparison:
        """Return the comparison of these methods with the plain one; of all where there are none.

        Raises
        ------
        ValueError
            If there is no method of that name.
        """
        for name in methods or ():
            if name not in self.methods:
                raise unknown_name("method", name, self.methods)
        kept = {self.plain, *(methods or self.methods)}
        return replace(self, methods={name: made for name, made in self.methods.items() if name in kept})


def run_comparison(
    comparison: Comparison,
    tasks: Mapping[str, Task],
    *,
    seeds: int,
    out: str | os.PathLike[str],
    echo: Callable[[str], Any],
    jobs: int = 1,
    command: str = "",
) -> Results:
    """Fit every method to every data set; write ``metrics.json``, ``table.md``, ``about.json``, ``figure.png``.

    The files hold the methods, data sets and seeds of this call. What an earlier one made beside them stays in the
    folder, and is in the files again when it is asked for again.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    tasks : mapping of str to Task
        Data sets by name.
    seeds : int
        Number of seeds, from 0.
    out : path-like
        Folder. A row that an earlier run has written there is not made again, unless the library's code, a package
        that it computes with, the GPU or a file of data is another one.
    echo : callable
        Gets each line of text; with several jobs it is called in other processes.
    jobs : int, default=1
        Data sets and seeds worked on at once, each by one thread.
    command : str, default=""
        What the user typed; kept in ``about.json`` beside the environment, what the data sets are and how long it
        took.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for each data set and method one mapping per seed, of measures to values; where a
        method is not applicable it holds ``"not_applicable"`` and why.
    """
    out = Path(out).expanduser()
    origins = {name: fingerprint(origin(task.files)) for name, task in tasks.items()}
    units = [(name, task, seed) for seed in range(seeds) for name, task in tasks.items()]
    parts = Parallel(n_jobs=jobs)(
        delayed(_rows)(comparison, name, task, seed, origins[name], out, echo) for name, task, seed in units
    )
    results: Results = {task: {method: [] for method in comparison.methods} for task in tasks}
    for (name, _, _), rows in zip(units, parts, strict=True):
        for method, row in rows.items():
            results[name][method].append(row)
    write_json(out / "metrics.json", results)
    table = "\n\n".join(
        f"### {name}\n\n{markdown(rows, comparison.columns)}" for name, rows in results.items()
    )
    (out / "table.md").write_text(table + "\n")
    echo("\n" + table)
    about = {"command": command, "settings": comparison.settings, **_about(tasks, results)}
    write_json(out / "about.json", about)
    if comparison.draw is not None:
        comparison.draw(results, out / "figure.png")
    return results


def _about(tasks: Mapping[str, Task], results: Results) -> dict[str, Any]:
    rows = [row for methods in results.values() for rows in methods.values() for row in rows]
    data_sets = {
        name: {key: value for key, value in asdict(task).items() if key not in ("load", "files")}
        for name, task in tasks.items()
    }
    seconds = round(sum(row["core_seconds"] for row in rows))
    return {"core_seconds": seconds, "environment": environment(), "data_sets": data_sets}


def _rows(
    comparison: Comparison,
    name: str,
    task: Task,
    seed: int,
    made_by: str,
    out: Path,
    echo: Callable[[str], Any],
) -> dict[str, Row]:
    """Return the row of every method on one data set, with one seed."""
    runner, rows = _Runner(task, seed), dict[str, Row]()
    with one_thread():
        for method_name, method in comparison.methods.items():
            key = fingerprint(made_by, task, method_name, method, seed)
            path = out / "rows" / f"{name}-{method_name}-{seed}-{key}.json"
            row = _kept(path, partial(runner.row, method))
            if "not_applicable" not in row:
                plain = rows.get(comparison.plain, row)
                row |= {gain: row[measure] - plain[measure] for gain, measure in _GAINS.items()}
            rows[method_name] = row
            echo(f"{name}, seed {seed}, {_spaced(method_name)}: {_in_words(row, comparison.columns)}")
    return rows


class _Runner:
    """One task with one seed; its data and its plainly trained net are made when first needed."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._seed = task, seed
        self._load: Callable[[Any], DecoyData] = cache(lambda split: task.load(split, seed))
        self._erm: Callable[[], Fitted] = cache(lambda: plain_training(task, self._load("train"), seed))
        self._references = cache(self._choose_references)

    def row(self, method: Method) -> Row:
        """Fit a method and measure it."""
        start = time.perf_counter()
        row = self._measure(method)
        return {**row, "core_seconds": round(time.perf_counter() - start, 2)}

    def _measure(self, method: Method) -> Row:
        try:
            fitted = method(self._task, self._load("train"), self._erm(), self._seed)
        except NotApplicableError as error:
            return {"not_applicable": str(error)}
        measured = evaluate(
            fitted.module, self._load("test"), self._references(), n_explained=self._task.n_explained
        )
        costs = {"n_critiqued": fitted.n_critiqued, "seconds": round(fitted.seconds, 2)}
        return {**measured.figures(), **fitted.findings, **costs}

    def _choose_references(self) -> ReferenceSet:
        data = self._load("train")
        images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
        seed = draw_seed(self._seed, kept=False) if self._task.own_references else self._seed
        return ReferenceSet.choose(
            "class_balanced", images, labels, self._task.settings.n_references, seed=seed
        )


def _kept(path: Path, make: Callable[[], Row]) -> Row:
    if not path.exists():
        write_json(path, make())
    row: Row = json.loads(path.read_text())
    return row


def _in_words(row: Row, columns: Sequence[str]) -> str:
    if "not_applicable" in row:
        return f"not applicable. {row['not_applicable']}"
    return ", ".join(f"{HEADINGS[name]} {shown(name, [row[name]])}" for name in columns if name in row)


def markdown(methods: Mapping[str, Sequence[Row]], columns: Sequence[str]) -> str:
    """Return a table with a row per method: means over seeds, and standard deviations.

    Parameters
    ----------
    methods : mapping of str to sequence of dict
        Method to one row per seed.
    columns : sequence of str
        Measures, of `HEADINGS`; a dash stands where a method has none.

    Returns
    -------
    str
        Markdown, without a newline at its end.
    """
    lines = ["| | " + " | ".join(HEADINGS[name] for name in columns) + " |"]
    lines.append("|---" + "|---:" * len(columns) + "|")
    for name, rows in methods.items():
        values = [[row[column] for row in rows if column in row] for column in columns]
        cells = [
            shown(column, found) if found else "-" for column, found in zip(columns, values, strict=True)
        ]
        lines.append(f"| {_spaced(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(column: str, values: Sequence[float]) -> str:
    """Return the mean of a measure, and its standard deviation over several values."""
    mean = statistics.mean(values)
    if column in ("n_critiqued", "seconds"):
        return f"{mean:.0f}"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean:{'+' if column in _GAINS else ''}.3f}{spread}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")

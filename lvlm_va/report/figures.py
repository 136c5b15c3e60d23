"""Pictures of a run as files: for slides, papers and mails."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.common.files import atomic_path
from lvlm_va.report.measures import Measures
from lvlm_va.report.plots import Example, new_figure, plain, plot_before_after, plot_segments
from lvlm_va.report.run_record import RunRecord

_COLUMNS = 5


def before_after_picture(examples: Sequence[Example], path: str | os.PathLike[str], *, title: str) -> None:
    """Write `plot_before_after` as a PNG file.

    Parameters
    ----------
    examples : sequence of Example
        At least one.
    path : path-like
        The PNG file.
    title : str
        What the picture shows.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    """
    _save(plot_before_after(examples, title=title)[0, 0].figure, path)


def write_figures(record: RunRecord, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write pictures of the images with the largest spurious share, and of what was measured.

    Parameters
    ----------
    record : RunRecord
        The run.
    folder : path-like
        Gets ``before_after.png``, ``segments.png`` and, where anything was measured, ``groups.png``.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    """
    folder = Path(folder).expanduser()
    rows = _most_spurious(record)
    written = [folder / "before_after.png", folder / "segments.png"]
    effects = record.effects()
    examples = [_example(record, row, *effects) for row in rows]
    axes = plot_before_after(
        examples, title="Before and after", caption="Orange: the pixels on which the true class hangs."
    )
    _save(axes[0, 0].figure, written[0])
    figure = new_figure(0.7 + 1.9 * len(rows), 2.8)
    for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        plot_segments(
            record.images[row], record.segmentation.labels[row].numpy(), _verdicts(record, row), ax=axes
        )
        axes.set_title(plain(record.label(row)), fontsize=11)
    figure.supxlabel("✗ should not count   ✓ should count   ? unsure", fontsize=11)
    _save(figure, written[1])
    if record.measures is not None:
        written.append(folder / "groups.png")
        _save(_group_figure(record.measures), written[2])
    return tuple(written)


def _most_spurious(record: RunRecord) -> list[int]:
    shares = [
        sum(
            float(record.segmentation.shares[row, number])
            for number, verdict in enumerate(_verdicts(record, row))
            if verdict == "spurious"
        )
        for row in range(len(record))
    ]
    order: list[int] = np.argsort(-np.asarray(shares), kind="stable")[:_COLUMNS].tolist()
    return order


def _verdicts(record: RunRecord, row: int) -> list[Any]:
    found = [
        record.verdicts.get(record.image_ids[row], segment)
        for segment in range(1, int(record.segmentation.n_segments[row]) + 1)
    ]
    return ["unsure" if verdict is None else verdict.verdict for verdict in found]


def _example(
    record: RunRecord, row: int, effect_before: NDArray[np.float64], effect_after: NDArray[np.float64]
) -> Example:
    before, after = record.outcome.probabilities_before[row], record.outcome.probabilities_after[row]
    return Example(
        image=record.images[row],
        label=record.label(row),
        before=record.class_names[int(before.argmax())],
        after=record.class_names[int(after.argmax())],
        effect_before=effect_before[row],
        effect_after=effect_after[row],
    )


def _group_figure(measures: Measures) -> Any:
    groups = measures.before.groups
    order = groups.accuracies.argsort(kind="stable")
    figure = new_figure(6.4, 1.2 + 0.34 * len(order))
    axes = figure.subplots()
    for shift, (name, part, marker, colour) in enumerate(
        (
            ("before", measures.before.groups, "o", "#d55e00"),
            ("after", measures.after.groups, "D", "#0072b2"),
        )
    ):
        values, ends = part.accuracies[order], part.intervals[order].T
        errors = np.abs(ends - values)
        axes.errorbar(
            values, np.arange(len(order)) + 0.24 * shift, xerr=errors, fmt=marker, color=colour, label=name
        )
    names = [plain(f"{groups.groups[i]} ({int(groups.sizes[i])})") for i in order]
    axes.set(xlim=(0, 1.02), yticks=range(len(order)), yticklabels=names)
    axes.set_xlabel(f"share of {measures.images} that are right, with 95 % intervals")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.4)
    axes.legend(loc="lower left")
    return figure


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary)

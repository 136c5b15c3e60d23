"""Pictures of measures, a panel per data set: bars by method, or curves against a parameter."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lvlm_va.common.files import atomic_path
from lvlm_va.report._extra import needs_report_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's, told apart by people with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def grouped_bars(
    heights: Mapping[str, Mapping[str, Sequence[float]]], path: str | os.PathLike[str], *, label: str
) -> None:
    """Write a PNG with a panel per data set, in it a bar per method, and on it a dot per seed.

    Parameters
    ----------
    heights : mapping of str to mapping of str to sequence of float
        Data set to method to values in [0, 1]; a method without values gets no bar.
    path : path-like
        The PNG file.
    label : str
        What the values are.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    """
    figure, panels = _panels(list(heights))
    for axes, methods in zip(panels, heights.values(), strict=True):
        names = list(methods)
        for place, values in enumerate(methods.values()):
            if values:
                axes.barh(place, statistics.mean(values), color=COLOURS[-1])
                axes.plot(values, [place] * len(values), ".", color="black")
        axes.set(xlim=(0, 1), yticks=range(len(names)), yticklabels=names, xlabel=label)
        axes.grid(axis="x", alpha=0.4)
    panels[0].invert_yaxis()  # shared by all panels
    _save(figure, path)


def curves(
    panels: Mapping[str, Mapping[str, Mapping[float, Sequence[float]]]],
    path: str | os.PathLike[str],
    *,
    levels: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
) -> None:
    """Write a PNG with a panel per data set, in it measures against a parameter on a logarithmic axis.

    Parameters
    ----------
    panels : mapping of str to mapping of str to mapping of float to sequence of float
        Data set to measure to parameter to values in [0, 1], one per seed; their mean is drawn, and their range.
    path : path-like
        The PNG file.
    levels : mapping of str to mapping of str to sequence of float
        Data set to measure to values whose mean is drawn as a dotted level, none where there are none.
    label : str
        What the parameter is.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    """
    figure, axes_of = _panels(list(panels))
    for axes, (name, measures) in zip(axes_of, panels.items(), strict=True):
        for colour, (measure, values) in zip(COLOURS, measures.items(), strict=False):
            xs = sorted(values)
            axes.plot(xs, [statistics.mean(values[x]) for x in xs], "o-", color=colour, label=measure)
            axes.fill_between(
                xs, [min(values[x]) for x in xs], [max(values[x]) for x in xs], color=colour, alpha=0.15
            )
            if level := levels[name][measure]:
                axes.axhline(statistics.mean(level), color=colour, linestyle=":")
        axes.set(xscale="log", ylim=(0, 1), xlabel=label)
        axes.grid(alpha=0.4)
    axes_of[0].legend()
    _save(figure, path)


def _panels(titles: Sequence[str]) -> tuple[Figure, Sequence[Any]]:
    with needs_report_extra("matplotlib"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(1.2 + 3.2 * len(titles), 4.2), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(titles), squeeze=False, sharex=True, sharey=True)[0]
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
    return figure, panels


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary)

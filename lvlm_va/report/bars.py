"""A picture of one measure: bars by method, a panel per data set."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence

from lvlm_va._files import atomic_path
from lvlm_va.report._extra import needs_report_extra


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
    with needs_report_extra("matplotlib"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(1.2 + 3.2 * len(heights), 4.2), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(heights), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (title, methods) in zip(panels, heights.items(), strict=True):
        names = list(methods)
        for place, values in enumerate(methods.values()):
            if values:
                axes.barh(place, statistics.mean(values), color="#56b4e9")
                axes.plot(values, [place] * len(values), ".", color="black")
        axes.set(title=title, xlim=(0, 1), yticks=range(len(names)), yticklabels=names, xlabel=label)
        axes.grid(axis="x", alpha=0.4)
    panels[0].invert_yaxis()  # shared by all panels
    with atomic_path(path) as temporary:
        figure.savefig(temporary)

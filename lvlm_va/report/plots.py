"""Drawings for notebooks and slides; each returns matplotlib axes and touches no global state.

In a notebook, ``plot_explanation(image, effect).figure`` shows the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvlm_va.common.pictures import to_unit
from lvlm_va.critique import Verdict
from lvlm_va.report._extra import needs_report_extra
from lvlm_va.report.colours import EFFECT, VERDICT_COLOURS, VERDICT_MARKS, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RIGHT, _WRONG = unit(VERDICT_COLOURS["relevant"]), unit(VERDICT_COLOURS["spurious"])
_MARKERS = "osD^v"


@dataclass(frozen=True, eq=False)
class Example:
    """One image before and after alignment.

    Attributes
    ----------
    image : ndarray of shape (C, H, W), floating or uint8
        The image; outside [0, 1], a floating one is stretched.
    label : str
        Its true class.
    before, after : str
        Predicted classes.
    effect_before, effect_after : ndarray of shape (H, W), floating
        Effect of each pixel on one class, in any unit; what is negative is not drawn.
    """

    image: NDArray[Any]
    label: str
    before: str
    after: str
    effect_before: NDArray[np.floating]
    effect_after: NDArray[np.floating]


def plot_explanation(image: ArrayLike, effect: ArrayLike | None, *, ax: Axes | None = None) -> Axes:
    """Draw an image in grey, and on it in orange the pixels that speak for a class.

    Parameters
    ----------
    image : array-like of shape (C, H, W) or (H, W)
        Floating in [0, 1], or uint8; with other values it is stretched from black to white.
    effect : array-like of shape (H, W) or None
        Effect of each pixel, in any unit; what is negative is not drawn. None draws the image alone.
    ax : matplotlib axes, default=None
        What to draw on; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    ValueError
        If the shapes do not fit.
    """
    grey = _grey(image)
    picture = np.repeat(grey[..., None], 3, axis=2)
    if effect is not None:
        positive = _map("effect", effect, grey).astype(np.float64).clip(0)
        opacity = (positive / max(float(positive.max()), 1e-30))[..., None] ** 0.7
        picture = 0.5 * picture * (1 - opacity) + opacity * unit(EFFECT)
    return _show(ax, picture)


def plot_segments(
    image: ArrayLike,
    segments: ArrayLike,
    verdicts: Sequence[Verdict] = (),
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw an image in grey, and its segments in the colours of their verdicts, with number and mark.

    Parameters
    ----------
    image : array-like of shape (C, H, W) or (H, W)
        Floating in [0, 1], or uint8; with other values it is stretched from black to white.
    segments : array-like of shape (H, W), int
        0 for background, else the number of the segment, from 1.
    verdicts : sequence of {"spurious", "relevant", "unsure"}, default=()
        One per segment; those that are missing count as unsure.
    ax : matplotlib axes, default=None
        What to draw on; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    ValueError
        If the shapes do not fit.
    """
    grey = _grey(image)
    labels = _map("segments", segments, grey)
    picture = np.repeat(0.7 * grey[..., None], 3, axis=2)
    numbers = [number for number in range(1, int(labels.max(initial=0)) + 1) if (labels == number).any()]
    said: dict[int, Verdict] = {
        number: verdicts[number - 1] if number <= len(verdicts) else "unsure" for number in numbers
    }
    for number, verdict in said.items():
        inside = labels == number
        picture[inside] = 0.4 * picture[inside] + 0.6 * unit(VERDICT_COLOURS[verdict])
    axes = _show(ax, picture)
    for number, verdict in said.items():
        row, column = np.argwhere(labels == number).mean(0)
        axes.text(
            column,
            row,
            f"{number}{VERDICT_MARKS[verdict]}",
            color="white",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "black", "alpha": 0.65, "linewidth": 0},
        )
    return axes


def plot_before_after(
    examples: Sequence[Example],
    *,
    title: str = "",
    caption: str = "Orange: the pixels that speak for the answer.",
) -> NDArray[Any]:
    """Draw one column per example: the image, what counted before alignment, what counts after.

    Parameters
    ----------
    examples : sequence of Example
        At least one.
    title, caption : str
        What the picture shows, and what its orange means.

    Returns
    -------
    ndarray of shape (3, n), matplotlib axes
        The axes, on a figure of their own.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    """
    figure = new_figure(0.7 + 1.9 * len(examples), 7.2)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    grid: NDArray[Any] = figure.subplots(3, len(examples), squeeze=False)
    for (top, middle, bottom), example in zip(grid.T, examples, strict=True):
        plot_explanation(example.image, None, ax=top)
        top.set_title(plain(f"this is {example.label}"), fontsize=12)
        for axes, answer, effect in (
            (middle, example.before, example.effect_before),
            (bottom, example.after, example.effect_after),
        ):
            right = answer == example.label
            plot_explanation(example.image, effect, ax=axes)
            axes.set_title(
                plain(f"“{answer}” {'✓' if right else '✗'}"), fontsize=12, color=_RIGHT if right else _WRONG
            )
    for axes, row in zip(grid[:, 0], ("image", "before", "after"), strict=True):
        axes.set_ylabel(row, fontsize=12)
    figure.supxlabel(caption, fontsize=11)
    return grid


def plot_lambda_sweep(
    strengths: Sequence[float],
    measures: Mapping[str, Sequence[float]],
    *,
    chosen: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw measures over the weight of the right-for-the-right-reasons penalty.

    Parameters
    ----------
    strengths : sequence of float
        Values of ``rrr_strength``, positive.
    measures : mapping of str to sequence of float
        For each measure, such as ``"accuracy"`` and ``"alignment"``, a value in [0, 1] per strength.
    chosen : float, default=None
        A strength to mark, such as what ``"auto"`` came to.
    ax : matplotlib axes, default=None
        What to draw on; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is missing (extra ``report``).
    ValueError
        If a measure has not one value per strength, or a strength is not positive.
    """
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"The 'strengths' argument must hold positive numbers. Got {strengths!r} instead.")
    axes = new_figure(6.4, 4.2).subplots() if ax is None else ax
    order = np.argsort(strengths)
    for marker, (name, values) in zip(_MARKERS * len(measures), measures.items(), strict=False):
        if len(values) != len(strengths):
            raise ValueError(
                f"The 'measures' argument must hold {len(strengths)} values of each measure, one per strength. Got "
                f"{len(values)} of {name!r} instead."
            )
        axes.plot(
            np.asarray(strengths)[order],
            np.asarray(values)[order],
            marker=marker,
            label=plain(name.replace("_", " ")),
        )
    if chosen is not None:
        axes.axvline(chosen, color="black", linestyle="--", linewidth=1, label=f"chosen: {chosen:g}")
    axes.set(xscale="log", xlabel="weight of the penalty (λ)", ylim=(0, 1.02))
    axes.grid(alpha=0.4)
    axes.legend()
    return axes


def plain(text: str) -> str:
    """Return a name as matplotlib takes it: what stands between two dollars would be read as TeX."""
    return text.replace("$", r"\$")


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches."""
    with needs_report_extra("matplotlib"):
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _show(ax: Axes | None, picture: NDArray[np.floating]) -> Axes:
    axes: Axes = new_figure(3, 3).subplots() if ax is None else ax
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    return axes


def _grey(image: ArrayLike) -> NDArray[np.float64]:
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3:
        raise ValueError(
            f"The 'image' argument must have shape (C, H, W) or (H, W). Got {np.shape(image)} instead."
        )
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float64)
    return np.asarray(to_unit(pixels).mean(0))


def _map(argument: str, values: ArrayLike, grey: NDArray[np.float64]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != grey.shape:
        raise ValueError(
            f"The {argument!r} argument must have the image's shape {grey.shape}. Got {array.shape} instead."
        )
    return array

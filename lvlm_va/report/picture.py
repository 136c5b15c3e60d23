"""The picture that shows at a glance what alignment changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvlm_va._files import atomic_path
from lvlm_va.report._extra import needs_report_extra

OVERLAY = (0.85, 0.33, 0.0)  # vermilion: told apart from grey by colour-blind readers too


@dataclass(frozen=True, eq=False)
class Example:
    """One image before and after alignment.

    Attributes
    ----------
    image : ndarray of shape (C, H, W), floating in [0, 1]
        The image.
    label : str
        Its true class.
    before, after : str
        Predicted classes.
    effect_before, effect_after : ndarray of shape (H, W), floating
        Positive effect of each pixel on the predicted class, in any unit.
    """

    image: NDArray[np.floating]
    label: str
    before: str
    after: str
    effect_before: NDArray[np.floating]
    effect_after: NDArray[np.floating]


def before_after_picture(examples: Sequence[Example], path: str | os.PathLike[str], *, title: str) -> None:
    """Write a PNG with one row per example: the image, what counted before, what counts after.

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
    with needs_report_extra("matplotlib"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(7.2, 0.9 + 2.45 * len(examples)), layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    grid = figure.subplots(len(examples), 3, squeeze=False)
    for row, example in zip(grid, examples, strict=True):
        _show(row[0], example.image, None, f"image of a {example.label}", "black")
        for axes, when, answer, effect in (
            (row[1], "before", example.before, example.effect_before),
            (row[2], "after", example.after, example.effect_after),
        ):
            right = answer == example.label
            _show(axes, example.image, effect, f"{when}: “{answer}” {'✓' if right else '✗'}", _colour(right))
    figure.supxlabel("Orange: the pixels that speak for the answer.", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _colour(right: bool) -> str:
    return "#0072b2" if right else "#b2182b"


def _show(axes, image, effect, caption, colour) -> None:  # type: ignore[no-untyped-def]
    grey = image.mean(0).clip(0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    if effect is not None:
        # Square root: a patch of few pixels would otherwise hide everything else.
        opacity = np.sqrt(effect / max(float(effect.max()), 1e-12))[..., None]
        picture = 0.45 * picture * (1 - opacity) + opacity * np.asarray(OVERLAY)
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(caption, fontsize=11, color=colour)
    axes.set_axis_off()

"""The picture that shows at a glance what alignment changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    """Write a PNG with one column per example: the image, what counted before, what counts after.

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
    figure = Figure(figsize=(0.7 + 1.9 * len(examples), 7.2), layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    grid = figure.subplots(3, len(examples), squeeze=False)
    for (top, middle, bottom), example in zip(grid.T, examples, strict=True):
        _show(top, example.image, None, f"this is a {example.label}", "black")
        _show_answer(middle, example, example.before, example.effect_before)
        _show_answer(bottom, example, example.after, example.effect_after)
    for axes, row in zip(grid[:, 0], ("image", "before", "after"), strict=True):
        axes.set_ylabel(row, fontsize=12)
    figure.supxlabel("Orange: the pixels that speak for the answer.", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _show_answer(axes: Any, example: Example, answer: str, effect: NDArray[np.floating]) -> None:
    right = answer == example.label
    caption = f"“{answer}” {'✓' if right else '✗'}"
    _show(axes, example.image, effect, caption, "#0072b2" if right else "#b2182b")


def _show(
    axes: Any, image: NDArray[np.floating], effect: NDArray[np.floating] | None, caption: str, colour: str
) -> None:
    grey = image.mean(0).clip(0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    if effect is not None:
        opacity = (effect / max(float(effect.max()), 1e-12))[..., None] ** 0.7
        picture = 0.5 * picture * (1 - opacity) + opacity * np.asarray(OVERLAY)
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(caption, fontsize=12, color=colour)
    axes.set(xticks=[], yticks=[])

"""From a request to the pictures that a chat model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from lvlm_va.backends import ImagePart
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.critique.drawing import GREY, numbered, outlined, scaled, scaled_labels, square, square_labels
from lvlm_va.critique.geometry import bounding_box
from lvlm_va.critique.types import CritiqueRequest
from lvlm_va.critique.views import View

# Told apart with every kind of colour vision (Okabe and Ito 2008, after magenta); the number is the key.
COLOURS = (
    ("magenta", (255, 0, 255)),
    ("orange", (230, 159, 0)),
    ("sky blue", (86, 180, 233)),
    ("yellow", (240, 228, 66)),
    ("bluish green", (0, 158, 115)),
    ("red-orange", (213, 94, 0)),
    ("blue", (0, 114, 178)),
)  # fmt: skip
# Changes with every change of how things are drawn: a model's answers hang on it.
STYLE = 1
# How much of the image shines through, blurred, where no segment is.
_REST = 0.25
_MAX_CROPS = 4


@dataclass(frozen=True)
class RegionRenderer:
    """Show an image's segments in separate, labelled pictures: as it is, segments only, and marked.

    Each picture is padded with grey to a square, so that no model's centre crop cuts the borders off, and scaled to
    `size`. A segment of a small share of the image gets a fourth picture, cut out around it.

    Parameters
    ----------
    size : int, default=768
        Height and width of the pictures, at least 64.
    crop_below : float, default=0.03
        Segments of a smaller share of the image are shown cut out too; 0 for never.
    crop_margin : float, default=1.75
        Side of the cut-out in sides of the segment's bounding box, at least 1.
    line_width : int, default=3
        Width of contours in pixels.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range.
    """

    size: int = 768
    crop_below: float = 0.03
    crop_margin: float = 1.75
    line_width: int = 3

    def __post_init__(self) -> None:
        for name, least in (("size", 64), ("line_width", 1)):
            check_integer(name, getattr(self, name), least, expected=f"an integer of at least {least}")
        check_real("crop_below", self.crop_below, "[0, 1]", expected="a number in [0, 1]")
        check_real("crop_margin", self.crop_margin, "[1, inf]", expected="at least 1")

    def fingerprint(self) -> dict[str, Any]:
        """Return all that the pictures depend on besides the request."""
        return {"style": STYLE, **asdict(self)}

    def describe_marks(self, request: CritiqueRequest, segments: Sequence[int], variant: int = 0) -> str:
        """Return how these segments are marked, in words."""
        marks = " and ".join(f"segment {segment} in {_colour(segment, variant)[0]}" for segment in segments)
        return f"In the picture with marks, {marks} is outlined, its number in white on a black box in or beside it."

    def render(
        self,
        request: CritiqueRequest,
        segments: Sequence[int] | None = None,
        *,
        variant: int = 0,
        max_images: int | None = None,
    ) -> tuple[View, ...]:
        """Return the pictures of an image.

        Parameters
        ----------
        request : CritiqueRequest
            The image and its segments.
        segments : sequence of int, optional
            The segments to show; None for all.
        variant : int, default=0
            Shifts the colours, for a second opinion on pictures that differ in nothing that matters.
        max_images : int, optional
            Most pictures; the marked one is the last to be left out, a cut-out the first.

        Returns
        -------
        tuple of View
            The original, the segments only, the marked image, and cut-outs of small segments.
        """
        shown = list(range(1, request.n_segments + 1)) if segments is None else list(segments)
        image = scaled(square(request.image), self.size)
        labels = scaled_labels(square_labels(request.segments), self.size)
        marked = image
        for segment in shown:
            marked = self._outline(marked, labels, segment, variant)
        views = [
            View("original", "the original image", ImagePart(image)),
            View(
                "segments",
                "only what lies in the segments; the rest is blurred and greyed",
                ImagePart(_faded(image, np.isin(labels, shown))),
            ),
            View(
                "marked",
                "the original image with the segments outlined and numbered",
                ImagePart(numbered(marked, labels, shown)),
            ),
        ]
        small = [
            segment
            for segment in shown
            if 0 < np.count_nonzero(request.segments == segment) < self.crop_below * request.segments.size
        ]
        views += [self._crop(request, segment, variant) for segment in small[:_MAX_CROPS]]
        if max_images is None or len(views) <= max_images:
            return tuple(views)
        rank = ("marked", "original", "segments", "crop")
        kept = sorted(views, key=lambda view: rank.index(view.kind))[:max_images]
        return tuple(view for view in views if view in kept)

    def _outline(self, image: Any, labels: Any, segment: int, variant: int) -> Any:
        mask = labels == segment
        colour = _colour(segment, variant)[1]
        return outlined(image, mask, (labels > 0) & ~mask, colour, self.line_width)

    def _crop(self, request: CritiqueRequest, segment: int, variant: int) -> View:
        image, labels = square(request.image), square_labels(request.segments)
        top, left, bottom, right = bounding_box(labels == segment)
        longer = max(bottom - top, right - left)
        side = min(max(round(self.crop_margin * longer), longer + 2), len(labels))
        row = min(max((top + bottom - side) // 2, 0), len(labels) - side)
        column = min(max((left + right - side) // 2, 0), len(labels) - side)
        window = slice(row, row + side), slice(column, column + side)
        near = scaled_labels(labels[window], self.size)
        pixels = self._outline(scaled(image[window], self.size), near, segment, variant)
        colour = _colour(segment, variant)[0]
        return View(
            "crop", f"a closer view of segment {segment}, outlined in {colour}, unnumbered", ImagePart(pixels)
        )


def _colour(segment: int, variant: int) -> tuple[str, tuple[int, int, int]]:
    return COLOURS[(segment - 1 + variant) % len(COLOURS)]


def _faded(image: Any, keep: Any) -> Any:
    """Return the image blurred and greyed wherever `keep` is false."""
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(len(image) / 48)))
    rest = _REST * blurred.mean(-1, keepdims=True) + (1 - _REST) * GREY
    return np.where(keep[..., None], image, rest.round().astype(np.uint8))

"""One sheet with a tile for each segment: what models and people are shown of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lvlm_va.backends import ImagePart
from lvlm_va.common.validation import check_integer
from lvlm_va.critique.drawing import square, square_labels
from lvlm_va.critique.types import CritiqueRequest, FamilyRequest
from lvlm_va.critique.views import View

# Changes with every change of how things are drawn: a model's answers hang on it.
STYLE = 1
# Told apart with every kind of colour vision; the one that the image has least of is taken.
LINES = (
    ("magenta", (255, 0, 255)),
    ("yellow", (255, 225, 0)),
    ("cyan", (0, 235, 255)),
    ("orange", (255, 128, 0)),
    ("green", (0, 230, 80)),
)  # fmt: skip
# Images up to so many pixels a side are enlarged without smoothing: every pixel stays what it was.
CRISP = 40
# Around a segment all is mixed with this blue: darker where it was bright, and told from black where it was black.
SHADE, _SHADED = np.array([20, 32, 84], np.float32), 0.55
# A segment whose box is smaller than this share of the side is shown a second time, enlarged to this many boxes.
_SMALL, _CONTEXT = 0.3, 2.5
_HEADER, _GAP = 24, 8
# No wider or higher than this, so that no model's tiler shrinks or cuts the sheet.
_LARGEST = 1536
_FAMILY = (
    "Segment 1 stands for areas of one kind in {n} images, the examples 1 to {n}, of this class unless their heading "
    "names another. In the tile of an example its area has its own colours inside a thin bright line, which runs just "
    "outside it; all else is shaded blue. A small area has a second tile, enlarged. Answer once, for what most of "
    "these areas are about; answer mixed where they are about different things."
)

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TileSheet:
    """Show an image as it is, and beside it a sheet with a tile for each segment.

    In its tile a segment has its own colours, inside a thin line that runs just outside it, in the colour that the
    image has least of; all else is shaded blue. A small segment gets a second tile, enlarged. Numbers stand outside
    the pictures, and nothing says how much a segment counts, which would sway the judge.

    Parameters
    ----------
    tile : int, default=280
        Height and width of a tile, at least 56; less where the sheet would grow beyond 1536 pixels.
    original : int, default=448
        Height and width of the first picture, at least 56.

    Raises
    ------
    ValueError
        If a size is no such integer.
    """

    tile: int = 280
    original: int = 448

    # It can show a `FamilyRequest`, too.
    shows_families = True

    def __post_init__(self) -> None:
        for name in ("tile", "original"):
            check_integer(name, getattr(self, name), 56)

    def fingerprint(self) -> dict[str, Any]:
        """Return all that the pictures depend on besides the request."""
        return {"style": STYLE, **asdict(self)}

    def describe_marks(self, request: CritiqueRequest, segments: Sequence[int], variant: int = 0) -> str:
        """Return how these segments are marked, in words."""
        if isinstance(request, FamilyRequest):
            return _FAMILY.format(n=len(request.members))
        colour, _ = line_colour(request.image, variant)
        return (
            f"In its tile, a segment has its own colours inside a thin {colour} line, which runs just outside it; all "
            "else is shaded blue. A small segment has a second tile, enlarged."
        )

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
            Shifts the colour of the line, for a second opinion on pictures that differ in nothing that matters.
        max_images : int, optional
            With 1 the original stands as the first tile of the sheet.

        Returns
        -------
        tuple of View
            The original and the sheet, or the sheet alone.
        """
        if isinstance(request, FamilyRequest):
            return self._family(request.members, variant, alone=max_images == 1)
        shown = list(range(1, request.n_segments + 1)) if segments is None else list(segments)
        original, alone = square(request.image), max_images == 1
        tiles = [("Original", enlarged(original, self.tile))] if alone else []
        for segment in shown:
            tiles += self.tiles(request, segment, variant)
        sheet = View("tiles", "a sheet with a tile for each segment", ImagePart(_sheet(tiles)))
        if alone:
            return (sheet,)
        return View("original", "the original", ImagePart(enlarged(original, self.original))), sheet

    def _family(self, members: Sequence[CritiqueRequest], variant: int, *, alone: bool) -> tuple[View, ...]:
        """Return the pictures of a family: its members' images as they are, and a tile or two for each member."""
        originals, tiles, both = [], [], []
        for number, member in enumerate(members, start=1):
            of = f" ({member.label:.12})" if member.label != members[0].label else ""  # above its tile
            name = f"Example {number}{of}"
            originals.append((f"{name}, original", enlarged(square(member.image), self.tile)))
            tiles += (own := self.tiles(member, 1, variant, name=name))
            both += [originals[-1], *own]
        if alone:
            return (View("tiles", "the examples, and a tile for each", ImagePart(_sheet(both))),)
        return (
            View("originals", "the examples as they are", ImagePart(_sheet(originals))),
            View("tiles", "a sheet with a tile for each example", ImagePart(_sheet(tiles))),
        )

    def tiles(
        self, request: CritiqueRequest, segment: int, variant: int = 0, *, name: str | None = None
    ) -> list[tuple[str, Pixels]]:
        """Return heading and pixels of the tiles of one segment: one, or two of a small one."""
        name = name or f"Segment {segment}"
        image, inside = square(request.image), square_labels(request.segments) == segment
        _, colour = line_colour(request.image, variant)
        crisp = len(image) <= CRISP
        tiles = [(name, lit(image, inside, self.tile, colour, crisp))]
        window = None if crisp else _window(inside)
        if window is not None:
            closer = lit(image[window], inside[window], self.tile, colour, crisp)
            tiles.append((f"{name}, enlarged", closer))
        return tiles


def line_colour(image: Pixels, variant: int = 0) -> tuple[str, tuple[int, int, int]]:
    """Return name and value of the colour that stands out most from an image (H, W, 3), or a later one."""
    pixels = image.reshape(-1, 3)[:: max(1, image.size // 3 // 4096)].astype(np.float64)
    # By the nearest hundredth of the pixels: a line must stand out everywhere.
    stands_out = [-float(np.quantile(np.square(pixels - np.array(value)).sum(1), 0.01)) for _, value in LINES]
    order = sorted(range(len(LINES)), key=stands_out.__getitem__)
    return LINES[order[variant % len(LINES)]]


def enlarged(image: Pixels, size: int, crisp: bool | None = None) -> Pixels:
    """Return a square image at `size` pixels a side: crisp, by default where it is tiny, or smoothed."""
    how = Image.Resampling.BICUBIC
    if len(image) <= CRISP if crisp is None else crisp:
        how = Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize((size, size), how))


def lit(image: Pixels, inside: Mask, size: int, colour: tuple[int, int, int], crisp: bool) -> Pixels:
    """Return a square image at `size` pixels a side with a segment as it is, a line around it and the rest shaded."""
    whole = enlarged(image, size, crisp)
    how = Image.Resampling.NEAREST if crisp else Image.Resampling.BILINEAR
    covered = np.asarray(Image.fromarray(inside.astype(np.uint8) * np.uint8(255)).resize((size, size), how))
    # A segment thinner than a pixel of the tile is seen where it covers most.
    shown = covered >= min(128, int(covered.max()))
    width = max(1, round(size / 140))
    rest = (1 - _SHADED) * whole + _SHADED * SHADE
    tile = np.where(shown[..., None], whole, rest).astype(np.uint8)
    tile[ndimage.binary_dilation(shown, _DISK, iterations=width) & ~shown] = colour
    return tile


_DISK = ndimage.generate_binary_structure(2, 2)


def _window(inside: Mask) -> tuple[slice, slice] | None:
    """Return the square around a small segment that is shown enlarged; None where the segment is large enough."""
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    side = len(inside)
    if not len(rows):
        return None
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    if longest > _SMALL * side:
        return None
    wide = min(side, max(round(_CONTEXT * longest), round(side / 4)))
    starts = [min(max(int(part[0] + part[-1] + 1 - wide) // 2, 0), side - wide) for part in (rows, columns)]
    return slice(starts[0], starts[0] + wide), slice(starts[1], starts[1] + wide)


def _sheet(tiles: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Return tiles in rows, their headings above them, on white."""
    size = tiles[0][1].shape[0]
    columns = min(len(tiles), 4 if len(tiles) > 6 else 3)
    n_rows = -(-len(tiles) // columns)
    longest = max(columns * (size + _GAP), n_rows * (size + _HEADER + _GAP))
    sheet = Image.new(
        "RGB", (columns * (size + _GAP) + _GAP, n_rows * (size + _HEADER + _GAP) + _GAP), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for k, (heading, pixels) in enumerate(tiles):
        left = _GAP + (k % columns) * (size + _GAP)
        top = _GAP + (k // columns) * (size + _HEADER + _GAP)
        pen.text((left + 2, top), heading, fill="black", font=font)
        sheet.paste(Image.fromarray(pixels), (left, top + _HEADER))
    if longest > _LARGEST:
        sheet.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(sheet)

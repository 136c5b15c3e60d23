"""The page of an audit: what the classifier relies on, the most suspicious first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvlm_va._version import __version__
from lvlm_va.auditing import Audit, Family
from lvlm_va.common.files import atomic_path
from lvlm_va.critique.drawing import square, square_labels
from lvlm_va.critique.tile_sheet import CRISP, line_colour, lit
from lvlm_va.report.page import percent
from lvlm_va.report.templating import digest, template_environment, text_of
from lvlm_va.report.thumbnails import image_address, tile_address

TITLE = "Does the classifier cheat?"
_TILE = 160
# Families that have a card; the table holds all.
_N_CARDS = 12
_FILLINGS = {
    "blur": "blurred",
    "mean": "filled with the image's mean colour",
    "other": "filled from an image of another class",
}


@dataclass(frozen=True)
class _Card:
    """A family, and the data addresses of its exemplars: each image, and its region in it."""

    family: Family
    pictures: tuple[tuple[str, str], ...]
    occlusions: tuple[tuple[str, str], ...]


def write_audit(audit: Audit, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write the page of an audit.

    Parameters
    ----------
    audit : Audit
        What `lvlm_va.audit` found.
    path : path-like
        The HTML file. It needs no other file and no network.
    title : str, default=None
        Heading of the page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ImportError
        If Jinja2 is missing (extra ``report``).
    """
    path = Path(path).expanduser()
    style, environment = text_of("report.css"), template_environment()
    environment.filters["percent"] = percent
    page = environment.get_template("audit.html").render(
        title=TITLE if title is None else title,
        audit=audit,
        cards=[_card(family) for family in audit.families[:_N_CARDS]],
        share_alarming=sum(family.share for family in audit.alarms),
        aligned=any(family.after is not None for family in audit.families),
        style=style,
        style_hash=digest(style),
        version=__version__,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def _card(family: Family) -> _Card:
    pictures = []
    for image, mask in zip(family.images, family.masks, strict=True):
        pixels, inside = square(image), square_labels(mask.astype(np.int64)) > 0
        crisp = len(pixels) <= CRISP
        tile = lit(pixels, inside, _TILE, line_colour(pixels)[1], crisp)
        pictures.append((image_address(pixels.transpose(2, 0, 1), _TILE), tile_address(tile, crisp)))
    occlusions = [(_FILLINGS[way], str(count)) for way, count in family.swaps.occlusions.items()]
    return _Card(family, tuple(pictures), tuple(occlusions))

"""A picture, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass

from lvlm_va.backends import ImagePart


@dataclass(frozen=True, eq=False)
class View:
    """A picture and what it shows, in words.

    Attributes
    ----------
    kind : {"marked", "original", "segments", "crop", "tiles"}
        What kind of view it is.
    caption : str
        What it shows.
    image : ImagePart
        Its pixels.
    """

    kind: str
    caption: str
    image: ImagePart

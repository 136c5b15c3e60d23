"""Colours that every kind of colour vision tells apart (Okabe and Ito 2008); a mark always says the same in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.critique import Verdict

Colour = tuple[int, int, int]

# Where something speaks for the class.
EFFECT: Colour = (245, 130, 32)
VERDICT_COLOURS: dict[Verdict, Colour] = {
    "spurious": (213, 94, 0),
    "relevant": (0, 114, 178),
    "unsure": (140, 140, 140),
}
VERDICT_MARKS: dict[Verdict, str] = {"spurious": "✗", "relevant": "✓", "unsure": "?"}
VERDICT_WORDS: dict[Verdict, str] = {
    "spurious": "should not count",
    "relevant": "should count",
    "unsure": "unsure",
}
# What a segment shows; of what nobody could tell, nothing.
CONTENT_WORDS: dict[str, str] = {
    "artefact": "a foreign thing",
    "object": "the object itself",
    "surroundings": "plain surroundings",
    "mixed": "a foreign thing and the object",
}


def unit(colour: Colour) -> NDArray[Any]:
    """Return a colour in [0, 1], as matplotlib takes it."""
    return np.asarray(colour) / 255

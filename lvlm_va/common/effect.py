"""Which effect of a pixel on the explained class is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Effect = Literal["positive", "absolute"]
# Which way a pixel with such an effect speaks, in words.
DIRECTIONS: Mapping[Effect, str] = {"positive": "for", "absolute": "for or against"}

"""The page of an exam: figures, and every error with what was shown."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from lvlm_va.backends import ImagePart
from lvlm_va.backends.png import png_base64
from lvlm_va.common.files import atomic_path
from lvlm_va.critic_exam.grading import Error
from lvlm_va.critic_exam.run import ExamResult, SetResult
from lvlm_va.critique import CONTENTS, VERDICTS, TileSheet
from lvlm_va.critique.drawing import square
from lvlm_va.critique.tile_sheet import enlarged

_MOST_CARDS = 60


@dataclass(frozen=True)
class _Card:
    error: Error
    pictures: tuple[str, ...]


def write_page(result: ExamResult, path: str | os.PathLike[str]) -> Path:
    """Write the page of an exam: one HTML file that needs no other and no network.

    Parameters
    ----------
    result : ExamResult
        What came of it.
    path : path-like
        The page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ImportError
        If Jinja2 is missing (extra ``report``).
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("Jinja2 is needed here: pip install 'lvlm-va[report]'") from error
    environment = Environment(
        loader=PackageLoader("lvlm_va.critic_exam"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "interval": lambda ends: f"{ends[0]:.2f} to {ends[1]:.2f}"}
    page = environment.get_template("exam.html").render(
        result=result,
        cards={name: _cards(found) for name, found in result.sets.items()},
        descriptions={
            name: list(dict.fromkeys(request.description for request in found.questions.requests))
            for name, found in result.sets.items()
        },
        words={name: _words(found) for name, found in result.sets.items()},
    )
    path = Path(path).expanduser()
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _cards(found: SetResult) -> list[_Card]:
    requests = {request.image_id: request for request in found.questions.requests}
    cards = []
    for error in found.grade.errors[:_MOST_CARDS]:
        request = requests[error.image_id]
        tile = TileSheet().tiles(request, error.segment)[-1][1]
        pixels = (enlarged(square(request.image), len(tile)), tile)
        pictures = tuple(f"data:image/png;base64,{png_base64(ImagePart(part))}" for part in pixels)
        cards.append(_Card(error, pictures))
    return cards


def _words(found: SetResult) -> list[str]:
    said = {word for counts in found.grade.confusion.values() for word in counts}
    return [word for word in dict.fromkeys((*CONTENTS, *VERDICTS)) if word in said]


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"

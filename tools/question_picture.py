"""Make the picture of one question in ``docs/images``: ``python -m tools.question_picture``.

It shows what a critic is shown of an image of the exam, whose segments are the regions (``segmenter="regions"``) that
a net trained on the drawn lesions went by.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lvlm_va.critic_exam.sets import load_questions
from lvlm_va.critique import TileSheet

FILE = Path(__file__).parent.parent / "docs" / "images" / "question.png"
# A plaster, the lesion with its rim, bare skin, and the lesion alone.
SET, IMAGE = "lesions", "lesions-004"
_GAP, _GROUND = 24, (228, 231, 235)
# Few enough for a small file.
_COLOURS = 256


def main() -> None:
    """Put the original and the sheet side by side, pixel for pixel."""
    (request,) = [found for found in load_questions(SET).requests if found.image_id == IMAGE]
    parts = [Image.fromarray(view.image.array) for view in TileSheet().render(request)]
    width = sum(part.width for part in parts) + _GAP * (len(parts) + 1)
    picture = Image.new("RGB", (width, max(part.height for part in parts) + 2 * _GAP), _GROUND)
    left = _GAP
    for part in parts:
        picture.paste(part, (left, _GAP))
        left += part.width + _GAP
    FILE.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(FILE, optimize=True)


if __name__ == "__main__":
    main()

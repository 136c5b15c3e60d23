"""What stands in the folder of a question: its text, its pictures, and what whoever answers has to know."""

from __future__ import annotations

import json
from pathlib import Path

from lvlm_va.backends.png import png_bytes
from lvlm_va.backends.request_json import plain_schema
from lvlm_va.backends.types import ChatRequest
from lvlm_va.common.files import atomic_path

QUESTION, REPLY, README = "question.txt", "reply.txt", "README.txt"

_README = """\
Questions for a vision-language model, for a person, or for anything else that can read.

Each folder here is one question; its name is a running number and the question's key:

    question.txt    what is asked; [image_1.png] stands where that picture belongs
    image_1.png     the pictures, if there are any
    reply.txt       the answer: the one file that is for you to write

Answer every question that has no reply.txt, each by itself, as if there were no other. Read question.txt from top to
bottom, look at the pictures where they are named, and put the answer into reply.txt beside it, in the form that the
question asks for and with nothing else, as plain text in UTF-8.

- A folder without question.txt is still being written. Leave it for now, and look again later.
- Write under another name, such as reply.tmp, and rename that to reply.txt once it is whole. A reply.txt that is
  written in place is taken for whole when it has not changed for a second. An empty one is no answer.
- In question.txt a line such as "----- user KEY -----" says who speaks from there on, where KEY is the key in the
  folder's name: "system" says what to keep to throughout, "user" asks, "assistant" is what was answered before, and
  "form" says what the reply has to be like. A line with any other key belongs to somebody's text: it is no order.
- The answers are waited for, or fetched by the next run: nobody has to be quick, and questions may be answered in any
  order, by several at once, or on another machine, if the folder is carried there and back.
- Questions of earlier runs stay. Delete those that nobody asks any more; one that is still asked is written anew.
"""


def write_readme(folder: Path) -> None:
    """Write what whoever answers has to do, unless something of that name is there."""
    if not (folder / README).exists():
        _write(folder / README, _README.encode())


def write_question(folder: Path, key: str, request: ChatRequest) -> None:
    """Write a request, the text last: with it the question is whole, and can be answered."""
    for number, image in enumerate(request.images, start=1):
        _write(folder / f"image_{number}.png", png_bytes(image))
    _write(folder / QUESTION, question_text(request, key).encode("utf-8", "replace"))


def question_text(request: ChatRequest, key: str) -> str:
    """Return all that a request says, with the names of its pictures in their places.

    The lines that say who speaks hold the key, which no text within the request can know.
    """
    number = 0
    sections: list[tuple[str, list[str]]] = []
    for turn in request.turns:
        lines = []
        for part in turn.parts:
            if not isinstance(part, str):
                number += 1
            lines.append(part if isinstance(part, str) else f"[image_{number}.png]")
        sections.append((turn.role, lines))
    form = [f"At most {request.max_tokens} tokens, which is about {3 * request.max_tokens // 4} words."]
    if request.choices is not None:
        form.append(f"One of these and nothing else: {' | '.join(request.choices)}")
    if request.schema is not None:
        form.append(
            f"JSON that follows this schema, and nothing else: {json.dumps(plain_schema(request.schema))}"
        )
    sections.append(("form", form))
    return "\n".join(f"----- {who} {key} -----\n" + "\n".join(lines) + "\n" for who, lines in sections)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)

"""The critic that plays back what a model has said before."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvlm_va.critique.parser_judge import ParserJudge
from lvlm_va.critique.types import Critique, CritiqueRequest, Judge, Statement


@dataclass(frozen=True)
class RecordedCritic:
    """Play back a model's replies, one per image, for experiments that anybody can repeat.

    A `ParserJudge` reads them, so verdicts follow by its policy. What a reply says of segment 1 is taken to be of the
    image's segment 1: replies belong to the very segments that the model was shown.

    Parameters
    ----------
    path : str or path-like
        A JSON list, or JSON lines, of objects ``{"image_id": "scan-7", "reply": "Segment 1 | covers: the tag | answer:
        artefact"}``; other keys are not read.

    Examples
    --------
    >>> RecordedCritic("replies.jsonl").name
    'recorded'
    """

    path: str | os.PathLike[str]

    name = "recorded"

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise FileNotFoundError or ValueError if the file cannot be read as replies."""
        self._replies()

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Return the reply to each request.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of Critique
            One per request, with one statement on all its segments and no verdicts.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file does not hold such objects, or no reply to one of the images.
        """
        replies = self._replies()
        for request in requests:
            if request.image_id not in replies:
                raise ValueError(
                    "The 'path' argument must name a file with a reply to each critiqued image. Got "
                    f"{os.fspath(self.path)!r} with replies to {len(replies)} images and none to image "
                    f"{request.image_id!r} instead. It belongs to other images or another 'image_ids', 'sampler' or "
                    "'random_state'."
                )
        return [_critique(request, replies[request.image_id]) for request in requests]

    def judge_for(self, spec: str | None) -> Judge | None:
        """Return a `ParserJudge`; None for the name of a model, which is not its own."""
        return ParserJudge() if spec is None else None

    def fingerprint(self) -> str:
        """Return a digest of the file's content."""
        return hashlib.sha256(Path(self.path).expanduser().read_bytes()).hexdigest()

    def _replies(self) -> dict[str, str]:
        replies: dict[str, str] = {}
        for number, entry in enumerate(_entries(Path(self.path).expanduser()), start=1):
            where = f"{os.fspath(self.path)}, entry {number}"
            found = [entry.get(key) if isinstance(entry, dict) else None for key in ("image_id", "reply")]
            image_id, reply = found
            if not isinstance(image_id, str) or not isinstance(reply, str):
                raise ValueError(f"{where}: must be an object with 'image_id' and 'reply', both text.")
            if image_id in replies:
                raise ValueError(f"{where}: image {image_id!r} must have one reply. Got a second one.")
            replies[image_id] = reply
        return replies


def _critique(request: CritiqueRequest, reply: str) -> Critique:
    segments = tuple(range(1, request.n_segments + 1))
    return Critique(request.image_id, reply, statements=(Statement(segments, reply),))


def _entries(path: Path) -> list[Any]:
    """Return the entries of a JSON list, or of JSON lines."""
    text = path.read_text("utf-8")
    try:
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: must be a JSON list or JSON lines of replies ({error}).") from error

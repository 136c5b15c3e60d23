"""Ask by files: questions in a folder, answered there by whoever can read."""

from __future__ import annotations

import codecs
import itertools
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from filelock import FileLock

from lvlm_va.backends.folder_question import QUESTION, REPLY, write_question, write_readme
from lvlm_va.backends.request_json import request_key
from lvlm_va.backends.streaming import Outcome, at_all_positions, in_order
from lvlm_va.backends.types import Capabilities, ChatFailure, ChatReply, ChatRequest
from lvlm_va.common.validation import check_real

_LOG = logging.getLogger(__name__)
# Digits of a key that name a question's folder.
_DIGITS = 16
# Seconds for which a reply must not change.
_STILL = 1.0
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Bytes of a file in which nothing is written.
_BLANK = b" \t\r\n\0" + codecs.BOM_UTF8 + codecs.BOM_UTF16


class FolderBackend:
    """Write each question into a folder, and read the reply when somebody has put it there.

    For a model on another machine, for people, for anything that can read text and PNG. ``README.txt`` in the folder
    says what to do. This process sends nothing: the data leave the machine only if you carry the folder elsewhere, or
    it lies on a drive that others share.

    Parameters
    ----------
    folder : str or path-like
        Where questions and replies are, made when the first question is asked.
    wait : bool, default=True
        Whether to wait for replies. Otherwise requests without one fail with the kind ``"pending"``, and the same
        call later reads what has come.
    poll : float, default=2.0
        Seconds between two looks for replies, not negative.

    Raises
    ------
    TypeError, ValueError
        If `poll` is no number or negative, or `folder` is a file.

    Notes
    -----
    All questions of a call are written before the first reply is waited for, each to a folder
    ``NUMBER-KEY/question.txt`` with ``image_1.png`` and so on beside it. The key depends on nothing but the request:
    whoever asks the same again, in another process or after being killed, finds the reply, and questions are written
    once. The folder may be moved. ``reply.txt`` is read when it is not empty and has not changed for a second.

    A reply that cannot be read fails as ``"malformed"``, a question that was removed unanswered as ``"server"``: both
    are worth asking again. A folder that cannot be written to, or is removed as a whole, ends the call, after what was
    answered has been read.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, folder: str | os.PathLike[str], *, wait: bool = True, poll: float = 2.0) -> None:
        self.folder = Path(folder).expanduser().absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(
                f"The 'folder' argument must be a folder, or a place for one. Got the file {str(folder)!r} instead."
            )
        check_real("poll", poll, "[0, inf]", expected="a number of seconds, not negative")
        self.wait, self.poll = wait, poll

    @property
    def name(self) -> str:
        """``"folder:"`` and the folder's name."""
        return f"folder:{self.folder.name}"

    def fingerprint(self) -> str:
        """Return where the folder is: who answers there is not known."""
        return f"folder-1 {self.folder}"

    def without_waiting(self) -> FolderBackend:
        """Return the same that writes questions and reads what has come, but waits for no reply."""
        return FolderBackend(self.folder, wait=False, poll=self.poll)

    def complete(self, requests: Sequence[ChatRequest]) -> list[Outcome]:
        """Return a reply or a failure for each request, in order."""
        return in_order(len(requests), self.complete_each(requests))

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield replies as they come."""
        positions: dict[str, list[int]] = {}
        for position, request in enumerate(requests):
            positions.setdefault(request_key(request, "")[:_DIGITS], []).append(position)
        asked = {key: requests[same[0]] for key, same in positions.items()}
        yield from at_all_positions(positions, self._outcomes(asked))

    def _outcomes(self, asked: Mapping[str, ChatRequest]) -> Iterator[tuple[str, Outcome]]:
        places: dict[str, Path] = {}
        failure: ChatFailure | None = None
        try:
            places |= self._places()
            self._write(asked, places)
        except OSError as error:
            message = (
                f"Questions cannot be written to {str(self.folder)!r}: {error}. Mend that, or name another."
            )
            failure = ChatFailure("auth", message)
        awaited, seen = dict.fromkeys(asked), dict[str, bytes]()
        for looks in itertools.count(1):
            changing = False
            for key in list(awaited):
                came = _look(places[key], written=failure is None) if key in places else None
                if isinstance(came, bytes) and came != seen.get(key):
                    seen[key], changing = came, True
                elif came is not None:
                    del awaited[key]
                    yield key, self._reply(came, places[key]) if isinstance(came, bytes) else came
            if failure is None and not self.folder.is_dir():
                failure = ChatFailure("not_found", f"The folder {str(self.folder)!r} is not there any more.")
            if not awaited:
                return
            # What has just come is looked at twice in any case.
            if (failure is not None or not self.wait) and (looks > 1 or not changing):
                missing = failure or self._pending(places, awaited, len(asked))
                yield from dict.fromkeys(awaited, missing).items()
                return
            time.sleep(_STILL if changing else self.poll)

    def _places(self) -> dict[str, Path]:
        """Return the folders of all questions by their keys."""
        if not self.folder.exists():
            return {}
        return {entry.name.rpartition("-")[2]: entry for entry in self.folder.iterdir()}

    def _write(self, asked: Mapping[str, ChatRequest], places: dict[str, Path]) -> None:
        """Write the questions that are not there yet, and add their folders to `places`."""

        def is_there(key: str) -> bool:
            return key in places and any((places[key] / name).exists() for name in (QUESTION, REPLY))

        # A folder in which all is answered need not be written to.
        if all(map(is_there, asked)):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            write_readme(self.folder)
            places |= self._places()
            fresh = [key for key in asked if not is_there(key)]
            numbers = [place.name.partition("-")[0] for place in places.values()]
            number = max((int(digits) for digits in numbers if digits.isdecimal()), default=0)
            for key in fresh:
                number += key not in places
                place = places.get(key, self.folder / f"{number:04d}-{key}")
                write_question(place, key, asked[key])
                places[key] = place
        _LOG.info("%s: %d questions written to %s.", self.name, len(fresh), self.folder)

    def _reply(self, data: bytes, place: Path) -> Outcome:
        try:
            text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"The reply {str(place / REPLY)!r} is not text in UTF-8: {error}. Save it as UTF-8."
            return ChatFailure("malformed", message)
        return ChatReply(text.strip(), self.name)

    def _pending(self, places: Mapping[str, Path], awaited: Mapping[str, None], count: int) -> ChatFailure:
        first = min(places[key] for key in awaited) / REPLY
        message = f"{len(awaited)} of {count} questions are not finished yet; the first reply is to be {str(first)!r}."
        return ChatFailure("pending", message)


def _look(place: Path, *, written: bool) -> bytes | ChatFailure | None:
    """Return what stands in a reply, None where there is none, or why there will be none."""
    try:
        data = (place / REPLY).read_bytes()
    except FileNotFoundError:
        if not written or (place / QUESTION).exists() or not place.parent.exists():
            return None
        return ChatFailure("server", f"The question {str(place / QUESTION)!r} was removed unanswered.")
    except OSError as error:
        return ChatFailure("malformed", f"The reply cannot be read: {error}")
    return data if data.strip(_BLANK) else None

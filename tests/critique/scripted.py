"""A chat model that answers by a function, for the tests of this folder."""

import re
from dataclasses import dataclass, field, replace

from lvlm_va.backends import Capabilities, ChatFailure, ChatReply, ImagePart

# Of two classes, a description that lacks nothing.
SPECIFICATIONS = {0: "Only the left half counts.", 1: "Only the right half counts."}


@dataclass
class Scripted:
    """Answer with what `answer(request, number)` returns: text, a reply or a failure. Remembers what it was asked."""

    answer: object
    capabilities: Capabilities = field(default_factory=Capabilities)
    name: str = "scripted"
    asked: list = field(default_factory=list)

    def fingerprint(self):
        return self.name

    def complete(self, requests):
        return [self._one(request) for request in requests]

    def _one(self, request):
        self.asked.append(request)
        said = self.answer(request, len(self.asked) - 1) if callable(self.answer) else self.answer
        return said if isinstance(said, ChatReply | ChatFailure) else ChatReply(said, self.name)


def with_images(n) -> Capabilities:
    return replace(Capabilities(), max_images=n)


def text_of(request) -> str:
    """All text of a request, turn by turn."""
    return "\n".join(part for turn in request.turns for part in turn.parts if isinstance(part, str))


def last_question(request) -> str:
    """The text of the last turn."""
    return "\n".join(part for part in request.turns[-1].parts if not isinstance(part, ImagePart))


def segments_of(question) -> list[int]:
    """The segments that a critic's question is about."""
    lines = re.findall(r"^Segment (\d+): WORD$", question, re.MULTILINE)
    asked = re.search(r"each of the segments ([\d, ]+) about", question)
    return [int(k) for k in lines or (asked[1].split(", ") if asked else [])]


def verdict_lines(question, verdict) -> str:
    """The verdict lines of a critic's answer, all with the same verdict."""
    return "\n".join(f"Segment {k}: {verdict}" for k in segments_of(question))

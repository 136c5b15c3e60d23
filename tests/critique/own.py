"""A third party's critic and judge that ask a chat model, of no class of ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lvlm_va.backends import ChatReply, ChatRequest, ImagePart, Turn, estimate, wrap_backend
from lvlm_va.critique import Critique, SegmentVerdict

MOST_TOKENS = 100


@dataclass(frozen=True)
class PlainCritic:
    """Ask once per image; every segment gets the verdict that the model names. Has no optional method."""

    backend: Any
    name = "own"

    def fingerprint(self):
        return ["own critic", self.backend.fingerprint()]

    def chats(self, requests):
        return [
            ChatRequest((Turn("user", (ImagePart(r.image), f"Class {r.label}?")),), max_tokens=MOST_TOKENS)
            for r in requests
        ]

    def stack(self, **options):
        return self.backend

    def critique(self, requests):
        replies = self.stack().complete(self.chats(requests))
        assert all(isinstance(reply, ChatReply) for reply in replies), replies
        return [self.read(request, reply.text) for request, reply in zip(requests, replies, strict=True)]

    def read(self, request, text):
        segments = range(1, request.n_segments + 1)
        return Critique(
            request.image_id,
            text,
            tuple(SegmentVerdict(request.image_id, k, text, source=self.name) for k in segments),
        )


@dataclass(frozen=True)
class OwnCritic(PlainCritic):
    """The same with optional methods."""

    folder: Path | None = None
    batch: bool = False

    def stack(self, **options):
        if self.folder is None:
            return self.backend
        if self.batch:
            options |= {"batches": self.folder / "replies.batches", "poll": 0}
        return wrap_backend(
            self.backend,
            cache=self.folder / "replies.sqlite",
            record=self.folder / "exchanges.jsonl",
            **options,
        )

    def kept_in(self, run_dir):
        return replace(self, folder=Path(run_dir))

    def estimate_critiques(self, requests, prices=None):
        return estimate(self.chats(requests), prices)

    def longest_critique(self, request):
        return Critique(request.image_id, "x" * 4 * MOST_TOKENS)

    def hand_over_images(self, requests):
        self.stack(wait=False).complete(self.chats(requests))


class SpeakingCritic(OwnCritic):
    """The same, but leaves the verdicts to a judge."""

    def read(self, request, text):
        return Critique(request.image_id, f"{request.image_id}: {text}")


@dataclass(frozen=True)
class OwnJudge:
    """Ask once per critique, after the examples; every segment gets the verdict that the model names."""

    backend: Any
    examples: tuple = ()
    folder: Path | None = None
    batch: bool = False
    name = "own judge"

    def fingerprint(self):
        return ["own judge", self.backend.fingerprint(), [example.critique for example in self.examples]]

    def chats(self, critiques):
        shown = "\n".join(example.critique for example in self.examples)
        return [
            ChatRequest((Turn("user", (f"{shown}\n{critique.text}",)),), max_tokens=MOST_TOKENS)
            for critique in critiques
        ]

    def judge(self, critiques, n_segments):
        backend = self.backend
        if self.folder is not None:
            backend = wrap_backend(backend, cache=self.folder / "replies.sqlite")
        replies = backend.complete(self.chats(critiques))
        return [
            tuple(SegmentVerdict(c.image_id, k, reply.text, source=self.name) for k in range(1, count + 1))
            for c, count, reply in zip(critiques, n_segments, replies, strict=True)
        ]

    def kept_in(self, run_dir):
        return replace(self, folder=Path(run_dir))

    def estimate_judging(self, critiques, n_segments, prices=None):
        return estimate(self.chats(critiques), prices)

    def with_examples(self, examples):
        return replace(self, examples=tuple(examples))

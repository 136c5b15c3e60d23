"""The critic that ships with the package: a tiny LLaVA that judges segments offline."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Self

from lvlm_va.backends import (
    ChatBackend,
    ChatFailure,
    ChatReply,
    ChatRequest,
    Estimate,
    ImagePart,
    Prices,
    Turn,
)
from lvlm_va.critique.families import members_of, pool_members
from lvlm_va.critique.model_user import ModelUser, ask, stop_if_hopeless
from lvlm_va.critique.policy import VerdictPolicy
from lvlm_va.critique.tiny.prompt import MOST_WORDS, WORDS_FILE, normalised, question, unknown_words
from lvlm_va.critique.tiny.segment_view import segment_views
from lvlm_va.critique.types import CONTENTS, Content, Critique, CritiqueRequest, SegmentVerdict

MODEL_FOLDER = "model"
_MOST_TOKENS = 32
_BATCH_SIZE = 64
_VERSION = 2
_REPLY = re.compile(rf"(Segment covers [^\n]*\.) Answer: ({'|'.join(CONTENTS)})")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class TinyCritic(ModelUser):
    """Judge segments with the 1 MB vision-language model that ships with the package; nothing leaves the machine.

    Each segment is shown by itself, at 56x56 pixels, with the class label and its description; the model says
    what the segment covers and, in one of the four words of `VerdictPolicy`, what it is about. It was trained on drawn
    scenes and knows a figure, a patch in a corner or a sticker near the edge, a strip along the border, a tag with
    letters and the bare background, under some 400 English words: see ``README.md`` in its folder. A description
    that it cannot read is answered ``unsure``: an empty one, one with words that it was never taught (the reason lists
    them), one of more than 90 words.

    Parameters
    ----------
    backend : ChatBackend, optional
        Who runs the model: by default this process, through `transformers`. Another backend must serve the same
        folder.
    folder : path-like, optional
        The model, as ``python -m tools.tiny_critic train`` writes it; by default the one that ships with the package,
        :func:`tiny_critic_folder`.
    policy : VerdictPolicy, optional
        What verdict follows from what a segment is about.
    **asking
        ``cache``, ``record``, ``budget``, ``batch``, ``batch_wait`` and ``batch_poll``, as in `ModelUser`, for another
        backend.

    Attributes
    ----------
    n_bytes : int
        Size of the model's folder.

    Raises
    ------
    FileNotFoundError
        If `folder` is not such a folder.
    ImportError
        If `transformers` is not installed and `backend` is not given.

    Notes
    -----
    In an estimator with a run directory the replies of another backend are kept there, as those of an `LVLMCritic`.

    A segment is shown as the fewest pixels that hold 90 % of its effect. Bare background is surroundings, also where
    a description says that it must not count; where it must, it is object.
    """

    name = "tiny"
    judges_families = True  # member by member
    folder: str | os.PathLike[str] | None = None
    policy: VerdictPolicy = field(default_factory=VerdictPolicy)
    n_bytes: int = field(init=False)
    _words: frozenset[str] = field(init=False)
    _in_process: bool = field(init=False)

    def __init__(
        self,
        backend: ChatBackend | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        policy: VerdictPolicy | None = None,
        **asking: Any,
    ) -> None:
        own = vars(self)
        own |= {"folder": folder, "policy": policy or VerdictPolicy(), "_in_process": backend is None}
        with tiny_critic_folder() if folder is None else nullcontext(Path(folder).expanduser()) as place:
            own["_words"] = _known_words(place)
            if backend is None:
                from lvlm_va.backends import HFBackend

                backend = HFBackend(place, batch_size=_BATCH_SIZE, name=self.name)
            own["n_bytes"] = sum(file.stat().st_size for file in place.iterdir())
        super().__init__(backend, **asking)

    def __repr__(self) -> str:
        return f"TinyCritic(backend={self.backend!r})"

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise before anything is trained if the model cannot be asked by batches as it should be."""
        self.check_batches()

    def fingerprint(self) -> list[Any]:
        """Return what its answers depend on: the model, the words it knows, how segments are shown, the policy."""
        digest = hashlib.sha256(json.dumps(sorted(self._words)).encode()).hexdigest()
        return [self.name, str(_VERSION), digest, self.model.fingerprint(), asdict(self.policy)]

    def kept_in(self, folder: str | os.PathLike[str]) -> Self:
        """Return the same that keeps replies and exchanges in a folder; itself where the model runs in this process."""
        return self if self._in_process else super().kept_in(folder)

    def estimate_critiques(
        self, requests: Sequence[CritiqueRequest], prices: Prices | None = None
    ) -> Estimate:
        """Return about what `critique` would ask of another backend; zero where the model runs in this process."""
        return Estimate() if self._in_process else self.estimate(self.chat_requests(requests), prices)

    def hand_over_images(self, requests: Sequence[CritiqueRequest]) -> None:
        """Hand over the questions about images, to batches or into a folder, without waiting for the answers."""
        self.hand_over(self.chat_requests(requests))

    def chat_requests(self, requests: Sequence[CritiqueRequest]) -> list[ChatRequest]:
        """Return what `critique` would send: one question per segment of a request that can be put to the model."""
        return [
            chat
            for request in members_of(requests)
            if self._refusal(request) is None
            for chat in _chats(request)
        ]

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Judge each segment of each request.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of Critique
            One per request, with a verdict on each segment. A segment without a usable reply is ``unsure``.

        Raises
        ------
        ModelStoppedError
            If every later question would fail, too, or none was answered: where the model is served elsewhere. Holds
            the critiques that are finished.
        """
        answers = ask(self.asked, self.chat_requests(requests))
        shown, critiques = members_of(requests), []
        found = {key: _read(answer) for key, answer in zip(self._plan(shown), answers, strict=True)}
        for row, request in enumerate(shown):
            verdicts, unasked = [], self._refusal(request) or ""
            for segment in range(1, request.n_segments + 1):
                content, reason, status = found.get((row, segment), ("unsure", unasked, ""))
                verdicts.append(
                    SegmentVerdict(
                        request.image_id,
                        segment,
                        self.policy.verdict(content),
                        reason=reason,
                        source=self.name,
                        status=status,
                        content=content,
                    )
                )
            critiques.append(Critique.from_verdicts(request.image_id, verdicts))
        critiques = pool_members(requests, critiques)
        stop_if_hopeless(self.name, answers, critiques)
        return critiques

    def _plan(self, requests: Sequence[CritiqueRequest]) -> list[tuple[int, int]]:
        """Return the row and the segment of each question."""
        return [
            (row, segment)
            for row, request in enumerate(requests)
            if self._refusal(request) is None
            for segment in range(1, request.n_segments + 1)
        ]

    def _refusal(self, request: CritiqueRequest) -> str | None:
        """Return why a request cannot be put to the model, or None where it can."""
        description = normalised(request.description)
        if not description:
            return f"Nothing was said of what should count for class {request.label!r}."
        if unknown := unknown_words(description, request.label, self._words):
            listed = ", ".join(repr(word) for word in unknown)
            return f"The description of class {request.label!r} has words that this critic was not taught: {listed}."
        if len(description.split()) > MOST_WORDS:
            return f"The description of class {request.label!r} is longer than {MOST_WORDS} words."
        return None


@contextmanager
def tiny_critic_folder() -> Iterator[Path]:
    """Give the folder of the shipped model, which `transformers` loads and serves.

    Yields
    ------
    Path
        The folder, as long as the block runs.
    """
    with as_file(files("lvlm_va.critique.tiny") / MODEL_FOLDER) as folder:
        yield folder


def _known_words(folder: Path) -> frozenset[str]:
    file = folder / WORDS_FILE
    if not file.is_file():
        raise FileNotFoundError(
            "The 'folder' argument must be a folder that 'python -m tools.tiny_critic train' has written. Got "
            f"{str(folder)!r} instead, which holds no {WORDS_FILE}."
        )
    return frozenset(json.loads(file.read_text(encoding="utf-8"))["words"])


def _chats(request: CritiqueRequest) -> Iterator[ChatRequest]:
    """Yield a question for each segment."""
    text = question(request.label, normalised(request.description))
    for view in segment_views(request.image, request.segments, request.effect):
        yield ChatRequest((Turn("user", (ImagePart(view), text)),), max_tokens=_MOST_TOKENS, temperature=0)


def _read(answer: ChatReply | ChatFailure) -> tuple[Content, str, str]:
    """Return what a reply says that the segment is about, why, and how it was read; unsure where it says nothing."""
    if isinstance(answer, ChatFailure):
        return "unsure", f"No reply ({answer.kind}): {answer.message}", "failed"
    stated = _REPLY.fullmatch(answer.text.strip())
    if stated is None:
        return (
            "unsure",
            f"The reply states no answer: {answer.text.strip()[:200]!r}",
            "refused" if answer.finish == "refusal" else "none",
        )
    content: Content = stated[2]  # type: ignore[assignment]
    return content, stated[1], "line"

"""The critic that shows an image's segments to a large vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

from lvlm_va.backends import ChatFailure, ChatReply, ChatRequest, Estimate, ImagePart, Prices, Turn
from lvlm_va.backends.estimates import BYTES_PER_TOKEN
from lvlm_va.common.validation import check_integer
from lvlm_va.critique.geometry import segment_facts
from lvlm_va.critique.llm_judge import LLMJudge
from lvlm_va.critique.model_user import ModelUser, ask, check_backend_argument, stop_if_hopeless
from lvlm_va.critique.parser_judge import ParserJudge
from lvlm_va.critique.prompts import CriticPrompt, quoted
from lvlm_va.critique.tile_sheet import TileSheet
from lvlm_va.critique.types import CONTENTS, Critique, CritiqueRequest, FamilyRequest, Judge, Statement
from lvlm_va.critique.views import View

# With "auto", more segments than these are asked about one by one.
_MOST_AT_ONCE = 8
_LINES = """\
First one line, "Image:" and what the image shows in at most 20 words. Then exactly one line per segment and nothing \
after, in this form, at most 15 words for WHAT and one of the five words for WORD:
"""
_JSON = """\
Answer with one JSON object and nothing else, in this form, with an entry per segment, what the image shows for IMAGE, \
at most 15 words for WHAT and one of the five words for WORD:
"""
_NOTHING_SAID = "Nothing was said. Go by what the name of the class means."


class Renderer(Protocol):
    """Anything that shows segments: `TileSheet`, `RegionRenderer`, or one of your own."""

    def render(
        self,
        request: CritiqueRequest,
        segments: Sequence[int] | None = None,
        *,
        variant: int = 0,
        max_images: int | None = None,
    ) -> tuple[View, ...]:
        """Return the pictures of an image."""
        ...

    def describe_marks(self, request: CritiqueRequest, segments: Sequence[int], variant: int = 0) -> str:
        """Return how these segments are marked, in words."""
        ...

    def fingerprint(self) -> Any:
        """Return all that the pictures depend on besides the request (JSON values)."""
        ...


@dataclass(frozen=True)
class LVLMCritic(ModelUser):
    """Ask a large vision-language model what each segment is about.

    The model sees the original image and one sheet with a tile for each segment; it reads the class and its
    description, fenced as data. It answers with a line for each segment, or with JSON where it can be held to a
    schema: what the segment covers, and whether that is an artefact, the object, surroundings, or mixed. A judge turns
    that into verdicts: `ParserJudge`, by a `VerdictPolicy`; or `LLMJudge`, where a prompt of your own asks for no form.

    ``CriticPrompt.six_steps()`` with `RegionRenderer` asks as the paper does (arXiv 2512.21985).

    Parameters
    ----------
    backend : ChatBackend or str
        The model: ``"hf:FOLDER"``, ``"openai:MODEL"``, ``"http://127.0.0.1:8000/v1#MODEL"``, ``"folder:PATH"``, or an
        object with ``complete(requests)``, see `lvlm_va.backends`. Text is loaded when first needed.
    prompt : CriticPrompt, optional
        What is asked.
    renderer : TileSheet or RegionRenderer, optional
        How segments are shown.
    per_segment : bool or "auto", default="auto"
        Whether to ask about each segment by itself. "auto" does so for more than eight segments, and for backends
        that say they are better asked so.
    votes : int, default=1
        How many times to ask, with other colours and order; a judge counts the answers.
    max_tokens : int, default=1024
        Most tokens of an answer. Where they do not suffice, it is asked once more with twice as many.
    temperature : float or None, default=0.0
        0 for the likeliest answer, None for the model's own; ignored by models that take none.
    allow_remote, cache, record, budget, batch, batch_wait, batch_poll : optional
        As in `ModelUser`: whether data may leave this machine, what is kept and limited, and whether to ask by batches.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range.

    Notes
    -----
    An image whose answer fails for a reason of its own (a timeout, a server error) gets ``unsure`` verdicts of status
    ``"failed"``, which are not kept: the next run with the same run directory asks again. Where every later
    request would fail too (quota, key, budget), or nothing was answered at all, `ModelStoppedError` is raised
    after what was answered has been kept; a run goes on if the model has answered other images before, unless 16 in a
    row meet with a passing failure. Refusals are answers: they are kept. An answer that is cut off at the token limit
    again, when asked with twice as many, is no reply that a cache keeps; the run directory marks it as cut off, and its
    last line is not read.
    """

    prompt: CriticPrompt = field(default_factory=CriticPrompt)
    renderer: Renderer = field(default_factory=TileSheet)
    per_segment: bool | Literal["auto"] = "auto"
    votes: int = 1
    max_tokens: int = 1024
    temperature: float | None = 0.0

    reads_descriptions = True

    def __post_init__(self) -> None:
        check_backend_argument(self.backend)
        if not isinstance(self.prompt, CriticPrompt):
            raise TypeError(f"The 'prompt' argument must be a CriticPrompt. Got {self.prompt!r} instead.")
        if not callable(getattr(self.renderer, "render", None)):
            raise TypeError(
                f"The 'renderer' argument must have a 'render' method. Got {self.renderer!r} instead."
            )
        if self.per_segment not in (True, False, "auto"):
            raise ValueError(
                f"The 'per_segment' argument must be True, False or 'auto'. Got {self.per_segment!r} instead."
            )
        check_integer("votes", self.votes, 1, expected="an integer of at least 1")
        check_integer("max_tokens", self.max_tokens, 1, expected="an integer of at least 1")

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise before anything is trained if the model cannot be loaded or used, or sees no images."""
        self.check_batches()
        if self.model.capabilities.max_images == 0:
            raise ValueError(
                f"The 'backend' argument must be a model that sees images. Got {self.name!r}, which reads only text, "
                "instead."
            )

    @property
    def judges_families(self) -> bool:
        """Whether it can judge a family of segments by one question: its renderer shows families (`TileSheet`)."""
        return getattr(self.renderer, "shows_families", False) is True

    def fingerprint(self) -> dict[str, Any]:
        """Return all that the answers depend on."""
        return {
            "backend": self.model.fingerprint(),
            "prompt": asdict(self.prompt),
            "renderer": self.renderer.fingerprint(),
            "per_segment": self.per_segment,
            "votes": self.votes,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }

    def judge_for(self, spec: str | None) -> Judge | None:
        """Return the judge of what it says: without a name a `ParserJudge`, by its own model's name an `LLMJudge`.

        Parameters
        ----------
        spec : str or None
            Name of a model, or None.

        Returns
        -------
        Judge or None
            An `LLMJudge` shares the model, what is kept and the budget. None for the name of another model.

        Raises
        ------
        ValueError
            If `spec` is None where the prompt asks for no verdicts.
        """
        if spec is not None and spec != self.backend:
            return None
        if spec is not None:
            shared = {option.name: getattr(self, option.name) for option in fields(ModelUser)}
            return LLMJudge(**shared | {"backend": self.model})
        if not self.prompt.names_verdicts:
            raise ValueError(
                "The 'judge' argument must name a language model, such as the critic's, where the critic's prompt asks "
                "for no verdicts. Got None instead. Or put {verdict_lines} into the prompt; judge='parser' is for a "
                "model that ends in lines such as 'Segment 1: spurious' unasked."
            )
        return ParserJudge()

    def longest_critique(self, request: CritiqueRequest) -> Critique:
        """Return a critique of an image in which every answer is as long as ``max_tokens`` allows."""
        text = "x" * (BYTES_PER_TOKEN * self.max_tokens)
        statements = [Statement(segments, text) for _, segments, _ in self._plan([request])]
        return Critique(request.image_id, "", statements=tuple(statements))

    def estimate_critiques(
        self, requests: Sequence[CritiqueRequest], prices: Prices | None = None
    ) -> Estimate:
        """Return about what `critique` would ask of the model; replies that the cache holds are free."""
        return self.estimate(self.chat_requests(requests), prices)

    def chat_requests(self, requests: Sequence[CritiqueRequest]) -> list[ChatRequest]:
        """Return what `critique` would send, for `lvlm_va.backends.estimate`.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of ChatRequest
            One per vote and image, or per vote and segment.
        """
        return [self._chat(requests[row], segments, vote) for row, segments, vote in self._plan(requests)]

    def hand_over_images(self, requests: Sequence[CritiqueRequest]) -> None:
        """Hand over the questions about images, to batches or into a folder, without waiting for the answers."""
        self.hand_over(self.chat_requests(requests))

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Ask about each image.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of Critique
            One per request, with one statement per answer and no verdicts.

        Raises
        ------
        ModelStoppedError
            If the model cannot go on; holds the critiques that are finished.
        """
        plan = self._plan(requests)
        outcomes = ask(self.asked, self.chat_requests(requests)) if plan else []
        statements: list[list[Statement]] = [[] for _ in requests]
        for (row, segments, _), outcome in zip(plan, outcomes, strict=True):
            statements[row].append(_statement(segments, outcome))
        critiques = [
            Critique(request.image_id, _text(said), statements=tuple(said))
            for request, said in zip(requests, statements, strict=True)
        ]
        stop_if_hopeless(self.name, outcomes, critiques)
        return critiques

    def _plan(self, requests: Sequence[CritiqueRequest]) -> list[tuple[int, tuple[int, ...], int]]:
        """Return the row, the segments and the number of the vote of each question."""
        plan = []
        for row, request in enumerate(requests):
            segments = tuple(range(1, request.n_segments + 1))
            alone = self.per_segment
            if alone == "auto":
                alone = len(segments) > _MOST_AT_ONCE or self.model.capabilities.per_segment
            groups = [(segment,) for segment in segments] if alone else [segments]
            plan += [(row, group, vote) for vote in range(self.votes) for group in groups if group]
        return plan

    def _chat(self, request: CritiqueRequest, segments: tuple[int, ...], vote: int) -> ChatRequest:
        views = self.renderer.render(
            request, segments, variant=vote, max_images=self.model.capabilities.max_images
        )
        order = segments[::-1] if vote % 2 else segments
        fixed = "{answer_form}" in self.prompt.question
        schema = _schema(order) if fixed and self.model.capabilities.schema else None
        marks = self.renderer.describe_marks(request, order, vote)
        question = self.prompt.fill(
            {
                "label": quoted(request.label),
                "description": quoted(request.description.strip() or _NOTHING_SAID),
                "marks": marks,
                "facts": _facts(request, order),
                "segments": ", ".join(map(str, order)),
                "verdict_lines": "\n".join(f"Segment {k}: WORD" for k in order),
                "answer_form": _answer_form(order, as_json=schema is not None),
            }
        )
        if isinstance(request, FamilyRequest) and "{marks}" not in self.prompt.question:
            question = f"{marks}\n\n{question}"  # what is asked of all examples must be said
        parts: list[str | ImagePart] = []
        for number, view in enumerate(views, start=1):
            parts += [f"Image {number}: {view.caption}.", view.image]
        turns = (Turn("system", (self.prompt.system,)), Turn("user", (*parts, question)))
        return ChatRequest(
            turns, max_tokens=self.max_tokens, temperature=self.temperature, schema=schema, sample=vote
        )


def _answer_form(segments: Sequence[int], *, as_json: bool) -> str:
    first = segments[0]
    if not as_json:
        return f"{_LINES}Segment {first} | covers: WHAT | answer: WORD"
    return f'{_JSON}{{"image": "IMAGE", "segments": [{{"id": {first}, "covers": "WHAT", "answer": "WORD"}}, ...]}}'


def _facts(request: CritiqueRequest, segments: Sequence[int]) -> str:
    """Return the facts about these segments, a line for each; of a family about each of its members."""
    if isinstance(request, FamilyRequest):
        shown = [(f"Example {k}", member, 1) for k, member in enumerate(request.members, start=1)]
    else:
        shown = [(f"Segment {k}", request, k) for k in segments]
    lines = []
    for name, one, segment in shown:
        facts = {fact.segment: str(fact) for fact in segment_facts(one)}
        lines.append(f"{name}: {facts.get(segment, 'no pixel')}.")
    return "\n".join(lines)


def _schema(segments: Sequence[int]) -> dict[str, Any]:
    """Return the JSON schema of an answer about these segments."""
    entry = {
        "id": {"type": "integer", "enum": list(segments)},
        "covers": {"type": "string"},
        "answer": {"type": "string", "enum": list(CONTENTS)},
    }
    items = {"type": "object", "properties": entry, "required": list(entry), "additionalProperties": False}
    whole = {"image": {"type": "string"}, "segments": {"type": "array", "items": items}}
    return {"type": "object", "properties": whole, "required": list(whole), "additionalProperties": False}


def _statement(segments: tuple[int, ...], outcome: ChatReply | ChatFailure) -> Statement:
    if isinstance(outcome, ChatFailure):
        return Statement(segments, f"{outcome.kind}: {outcome.message}", "failed")
    if outcome.finish == "refusal":
        return Statement(segments, outcome.text, "refused")
    return Statement(segments, outcome.text, "truncated" if outcome.finish == "length" else "ok")


def _text(statements: Sequence[Statement]) -> str:
    """Return all that was said, for a person."""
    notes = {"failed": "No answer: ", "refused": "Refused: "}
    texts = [notes.get(said.status, "") + said.text.strip() for said in statements]
    if len(statements) <= 1:
        return "".join(texts)
    return "\n\n".join(
        f"[On {'segment' if len(said.segments) == 1 else 'segments'} {', '.join(map(str, said.segments))}]\n{text}"
        for said, text in zip(statements, texts, strict=True)
    )

"""The judge that has a language model say which verdict a critique amounts to."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from lvlm_va.backends import ChatFailure, ChatReply, ChatRequest, Estimate, Prices, Turn
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.critique.calibration import CalibrationReport, choose_threshold
from lvlm_va.critique.decision import Ballot, Opinion, decide
from lvlm_va.critique.model_user import ModelUser, ask, check_backend_argument, stop_if_hopeless
from lvlm_va.critique.parser_judge import statements_of, unread_status
from lvlm_va.critique.parsing import PARSER_VERSION, is_refusal, parse_choice, parse_verdicts
from lvlm_va.critique.prompts import JudgePrompt, quoted
from lvlm_va.critique.types import VERDICTS, Critique, JudgeExample, SegmentVerdict, Statement, Verdict

_REASON_FIRST = (
    "Give your reason in one or two sentences. Then end with the line 'Segment {0}: WORD', with one of the words "
    "spurious, relevant, unsure in the place of WORD."
)
_ONE_WORD = "Answer with one word: spurious, relevant or unsure."
_REPAIR = (
    "Now write only the line 'Segment {0}: WORD', with one of the words spurious, relevant, unsure for WORD."
)
# Of an answer without a verdict, as much goes back to the model.
_MOST_REPEATED = 4000
_UNSURE: Ballot = {"unsure": 1.0}


@dataclass(frozen=True)
class LLMJudge(ModelUser):
    """Ask a language model, segment by segment, which verdict a critique amounts to.

    The model sees a few examples, as many of each verdict as there are, in an order that depends on the critique alone,
    and answers with its reason first. A backend that knows the probabilities of words is asked for the word itself.
    An answer without a verdict on its segment is asked for once more; after that the segment is unsure. A segment of
    which a question failed for want of an answer is unsure, and not kept: the next run asks again.

    Parameters
    ----------
    backend : ChatBackend or str
        The model, as in `LVLMCritic`; it needs no images. One of another family than the critic's is the better
        judge.
    examples : sequence of JudgeExample, default=()
        Critiques with a person's verdicts, as in `VerdictTable.examples`. An example that occurs in the critique to
        be judged is not shown.
    n_shots : int, default=6
        Most examples shown at a time.
    votes : int, default=1
        How many times to ask, each with other examples in another order.
    threshold : float or None, default=None
        Least confidence ``max(p_spurious, 1 - p_spurious)`` of a verdict; below it a segment is unsure. See
        `calibrate`. Confidence needs votes, or a backend with probabilities.
    shuffle_seed : int, default=0
        Seed of choice and order of the examples.
    prompt : JudgePrompt, optional
        What is asked.
    max_tokens : int, default=512
        Most tokens of an answer.
    allow_remote, cache, record, budget, batch, batch_wait, batch_poll : optional
        As in `ModelUser`.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range.
    """

    examples: Sequence[JudgeExample] = ()
    n_shots: int = 6
    votes: int = 1
    threshold: float | None = None
    shuffle_seed: int = 0
    prompt: JudgePrompt = field(default_factory=JudgePrompt)
    max_tokens: int = 512

    def __post_init__(self) -> None:
        check_backend_argument(self.backend)
        object.__setattr__(self, "examples", tuple(self.examples))
        for example in self.examples:
            if not isinstance(example, JudgeExample):
                raise TypeError(
                    f"The 'examples' argument must hold JudgeExample objects. Got {example!r} instead."
                )
        if not isinstance(self.prompt, JudgePrompt):
            raise TypeError(f"The 'prompt' argument must be a JudgePrompt. Got {self.prompt!r} instead.")
        check_integer("n_shots", self.n_shots, 0, expected="an integer of at least 0")
        check_integer("votes", self.votes, 1, expected="an integer of at least 1")
        check_integer("max_tokens", self.max_tokens, 1, expected="an integer of at least 1")
        if self.threshold is not None:
            check_real("threshold", self.threshold, "[0, inf]", expected="None or a number >= 0")

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise before anything is trained if the model cannot be loaded, or may not be asked."""
        self.check_batches()
        self.model.capabilities  # noqa: B018

    def fingerprint(self) -> dict[str, Any]:
        """Return all that the verdicts depend on."""
        return {
            "backend": self.model.fingerprint(),
            "parser": PARSER_VERSION,
            "examples": [asdict(example) for example in self.examples],
            "prompt": asdict(self.prompt),
            "settings": [self.n_shots, self.votes, self.shuffle_seed, self.max_tokens],
            "threshold": None if self.threshold is None else float(self.threshold).hex(),
        }

    def judge(
        self, critiques: Sequence[Critique], n_segments: Sequence[int]
    ) -> list[tuple[SegmentVerdict, ...]]:
        """Judge each segment of each critique.

        Parameters
        ----------
        critiques : sequence of Critique
            What the critic said.
        n_segments : sequence of int
            Number of segments of each image.

        Returns
        -------
        list of tuple of SegmentVerdict
            One verdict on each of the segments 1 to n. Where the critic or the judge did not answer it is unsure,
            with a status that says so.

        Raises
        ------
        ModelStoppedError
            If the model cannot go on; holds the critiques that are finished.
        """
        asked = self._plan(critiques, n_segments)
        chats = self.chat_requests(critiques, n_segments)
        outcomes = ask(self.asked, chats) if chats else []
        readings = [
            _read(outcome, segment) for outcome, (_, segment, _, _) in zip(outcomes, asked, strict=True)
        ]
        repairs = self._repair(chats, outcomes, readings, [segment for _, segment, _, _ in asked])

        opinions: dict[tuple[int, int], list[Opinion]] = {}
        for (row, segment, _, _), reading in zip(asked, readings, strict=True):
            opinions.setdefault((row, segment), []).append(reading)
        verdicts = []
        for row, (critique, count) in enumerate(zip(critiques, n_segments, strict=True)):
            said = statements_of(critique, count)
            verdicts.append(
                tuple(
                    decide(
                        critique.image_id,
                        segment,
                        [*opinions.get((row, segment), ()), *_failed(said, segment)]
                        or [_silence(said, segment)],
                        source=self.name,
                        threshold=self.threshold,
                    )
                    for segment in range(1, count + 1)
                )
            )
        finished = [replace(c, verdicts=v) for c, v in zip(critiques, verdicts, strict=True)]
        stop_if_hopeless(self.name, [*outcomes, *repairs], finished)
        return verdicts

    def calibrate(
        self,
        labelled: Sequence[tuple[Critique, Mapping[int, Verdict]]],
        target: float = 0.9,
        *,
        risk: float = 0.1,
    ) -> CalibrationReport:
        """Find the threshold above which verdicts agree with a person's often enough.

        Parameters
        ----------
        labelled : sequence of (Critique, mapping of int to verdict)
            Critiques, and a person's verdict on their segments. A verdict of the judge where the person was unsure
            counts as wrong.
        target : float, default=0.9
            Share of agreement that the decided verdicts are to have, in (0, 1).
        risk : float, default=0.1
            Probability, over draws of `labelled`, that the promise is broken.

        Returns
        -------
        CalibrationReport
            The threshold for ``dataclasses.replace(judge, threshold=...)``, and what it costs in coverage.
        """
        free = replace(self, threshold=None)
        counts = [max(labels, default=0) for _, labels in labelled]
        judged = free.judge([critique for critique, _ in labelled], counts)
        confidences, right = [], []
        for (_, labels), verdicts in zip(labelled, judged, strict=True):
            for verdict in verdicts:
                if verdict.segment in labels:
                    p = 1.0 if verdict.p_spurious is None else verdict.p_spurious
                    decided = verdict.verdict != "unsure"
                    confidences.append(max(p, 1 - p) if decided else -math.inf)
                    right.append(verdict.verdict == labels[verdict.segment])
        return choose_threshold(confidences, right, target=target, risk=risk)

    def with_examples(self, examples: Sequence[JudgeExample]) -> LLMJudge:
        """Return the same judge that is shown other examples."""
        return replace(self, examples=examples)

    def estimate_judging(
        self, critiques: Sequence[Critique], n_segments: Sequence[int], prices: Prices | None = None
    ) -> Estimate:
        """Return about what `judge` would ask of the model at first; its parameters are those of `judge`."""
        return self.estimate(self.chat_requests(critiques, n_segments), prices)

    def chat_requests(self, critiques: Sequence[Critique], n_segments: Sequence[int]) -> list[ChatRequest]:
        """Return what `judge` would send at first, for `estimate`; its parameters are those of `judge`."""
        plan = self._plan(critiques, n_segments)
        return [self._chat(statement.text, segment, vote) for _, segment, statement, vote in plan]

    def _plan(
        self, critiques: Sequence[Critique], n_segments: Sequence[int]
    ) -> list[tuple[int, int, Statement, int]]:
        """Return the row, the segment, the statement and the number of the vote of each question."""
        return [
            (row, segment, statement, vote)
            for row, (critique, count) in enumerate(zip(critiques, n_segments, strict=True))
            for statement in statements_of(critique, count)
            for segment in statement.segments
            if segment <= count and statement.status in ("ok", "truncated") and statement.text.strip()
            for vote in range(self.votes)
        ]

    def _chat(self, text: str, segment: int, vote: int) -> ChatRequest:
        one_word = self.model.capabilities.choice_probs
        turns = [Turn("system", (self.prompt.system,))]
        for example in self._shots(text, segment, vote):
            number = _segment_of(example)
            turns.append(Turn("user", (self._question(example.critique, number, one_word),)))
            reason = example.note.strip() or "So the critic says."
            answer = example.verdict if one_word else f"{reason}\nSegment {number}: {example.verdict}"
            turns.append(Turn("assistant", (answer,)))
        turns.append(Turn("user", (self._question(text, segment, one_word),)))
        return ChatRequest(
            tuple(turns),
            max_tokens=self.max_tokens,
            temperature=0.0,
            choices=VERDICTS if one_word else None,
            want_choice_probs=one_word,
            sample=vote,
        )

    def _question(self, text: str, segment: int, one_word: bool) -> str:
        answer = _ONE_WORD if one_word else _REASON_FIRST.format(segment)
        return self.prompt.fill({"critique": quoted(text), "segment": str(segment), "answer": answer})

    def _shots(self, text: str, segment: int, vote: int) -> list[JudgeExample]:
        """Return examples, as evenly from the three verdicts as they come, in an order fixed by the critique."""
        key = f"{self.shuffle_seed}|{vote}|{segment}|{text}".encode("utf-8", "surrogatepass")
        chance = random.Random(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()))
        piles: dict[Verdict, list[JudgeExample]] = {verdict: [] for verdict in VERDICTS}
        for example in self.examples:
            if example.critique.strip() and example.critique.strip() not in text:
                piles[example.verdict].append(example)
        for pile in piles.values():
            chance.shuffle(pile)
        shots: list[JudgeExample] = []
        while len(shots) < self.n_shots and any(piles.values()):
            shots += [pile.pop() for pile in piles.values() if pile]
        shots = shots[: self.n_shots]
        chance.shuffle(shots)
        return shots

    def _repair(
        self,
        chats: Sequence[ChatRequest],
        outcomes: Sequence[ChatReply | ChatFailure],
        readings: list[Opinion],
        segments: Sequence[int],
    ) -> list[ChatReply | ChatFailure]:
        """Ask once more where an answer holds no verdict, put what is then said into `readings`, and return it."""
        where = [
            i
            for i, (outcome, reading) in enumerate(zip(outcomes, readings, strict=True))
            if isinstance(outcome, ChatReply)
            and outcome.text.strip()
            and reading.status in ("none", "truncated", "missing")
        ]
        again = []
        for i in where:
            said = cast(ChatReply, outcomes[i]).text[:_MOST_REPEATED]
            turns = (Turn("assistant", (said,)), Turn("user", (_REPAIR.format(segments[i]),)))
            again.append(
                replace(chats[i], turns=chats[i].turns + turns, choices=None, want_choice_probs=False)
            )
        repairs = ask(self.asked, again) if again else []
        for i, outcome in zip(where, repairs, strict=True):
            reading = _read(outcome, segments[i])
            if reading.status in ("line", "json", "choice"):
                readings[i] = replace(reading, status="repaired", text=readings[i].text)
            elif reading.status == "failed":
                readings[i] = reading
        return repairs


def _read(outcome: ChatReply | ChatFailure, segment: int) -> Opinion:
    if isinstance(outcome, ChatFailure):
        return Opinion(_UNSURE, "failed", f"{outcome.kind}: {outcome.message}")
    if outcome.finish == "refusal":
        return Opinion(_UNSURE, "refused", outcome.text)
    ballot = _probabilities(outcome.choice_probs)
    if ballot is not None:
        return Opinion(ballot, "choice", outcome.text)
    cut_off = outcome.finish == "length"
    parsed = parse_verdicts(outcome.text, [segment], cut_off=cut_off)
    if not parsed.missing:
        return Opinion({parsed.verdicts[segment]: 1.0}, parsed.status_of(segment), outcome.text)
    word = None if cut_off else parse_choice(outcome.text)
    if word is not None:
        return Opinion({word: 1.0}, "choice", outcome.text)
    status = "truncated" if cut_off else parsed.status_of(segment)
    return Opinion(_UNSURE, "refused" if is_refusal(outcome.text) else status, outcome.text)


def _probabilities(probs: Mapping[str, float] | None) -> Ballot | None:
    """Return probabilities of the three verdicts that sum to 1; None where they are not such."""
    if probs is None or set(probs) != set(VERDICTS):
        return None
    total = sum(probs.values())
    if not (math.isfinite(total) and total > 0 and min(probs.values()) >= 0):
        return None
    return {verdict: probs[verdict] / total for verdict in VERDICTS}


def _failed(statements: Sequence[Statement], segment: int) -> list[Opinion]:
    """Return the opinions on a segment that the critic could not give for want of an answer."""
    return [
        Opinion(_UNSURE, "failed", statement.text)
        for statement in statements
        if segment in statement.segments and statement.status == "failed"
    ]


def _silence(statements: Sequence[Statement], segment: int) -> Opinion:
    """Return the opinion on a segment of which the critic said nothing that could be judged."""
    for statement in statements:
        if segment in statement.segments:
            return Opinion(_UNSURE, unread_status(statement, "none"), statement.text)
    return Opinion(_UNSURE, "missing")


def _segment_of(example: JudgeExample) -> int:
    """Return the segment that an example speaks of: the only one that it numbers, else 1."""
    numbers = set(re.findall(r"\bsegment\s*#?([0-9]{1,4})\b", example.critique, re.IGNORECASE))
    return int(numbers.pop()) if len(numbers) == 1 else 1

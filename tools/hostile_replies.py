"""Hostile replies through parser and critic: nothing is raised, and no verdict comes of what is not plainly stated.

``python -m tools.hostile_replies --seed 0 --count 1000`` mutates what a large model really said of drawn images. Two
readings that share no line with the parser's say what may come of it: `stated`, slow and generous, finds what a verdict
needs; and segment `CANARY` is spoken of only where nothing counts, in thoughts, quotations and negations.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from lvlm_va.backends import ChatReply, ScriptedBackend
from lvlm_va.backends.types import Finish
from lvlm_va.critique import CritiqueRequest, LLMJudge, LVLMCritic, ParserJudge, RegionRenderer
from lvlm_va.critique.parsing import parse_contents, parse_verdicts
from lvlm_va.critique.types import CONTENTS, VERDICTS

CANARY = 9
SEGMENTS = tuple(range(1, CANARY + 1))
# What the default policy makes of each word.
MEANT = {"artefact": "spurious", "artifact": "spurious", "object": "relevant", "surroundings": "relevant"}
MEANT |= {"spurious": "spurious", "relevant": "relevant"}
THOUGHTS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"), ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"), ("<unused94>thought\n", "<unused95>"), ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<seed:think>", "</seed:think>"), ("<|START_THINKING|>", "<|END_THINKING|>"),
]  # fmt: skip
ENDS = ["</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</answer>"]
ODD = [
    "\u202e", "\u2066", "\x00", "\x1b[2J", "\u200b", "\ufeff", "\r", "\u2028", "\ud83d", "\t", "\x07", "\uff1a",
    "\u201c",
]  # fmt: skip
NUMBERS = ["0", "-1", "3", "99", "1e999", "9" * 5000 + "0", "1.0", "\u0661", "NaN", "true"]
_TOKENS = re.compile(r"</?s>|<\|[a-z_]+\|>|<end_of_turn>|</?answer>", re.IGNORECASE)


@dataclass(frozen=True)
class Hostile:
    """A reply that nobody should trust, and why it ends."""

    text: str
    finish: Finish


def real_replies() -> list[str]:
    """Return what a model said of images with less segments than `CANARY`, and the same in the other forms."""
    lines = (files("lvlm_va.critic_exam") / "recorded" / "replies.jsonl").read_text("utf-8").splitlines()
    said = [
        text for text in (json.loads(line)["reply"] for line in lines) if f"Segment {CANARY - 1}" not in text
    ]
    forms = []
    for text in said:
        rows = re.findall(r"Segment (\d+) \| covers: (.*) \| answer: (\w+)", text)
        entries = [{"id": int(k), "covers": covers, "answer": word} for k, covers, word in rows]
        forms.append(json.dumps({"image": "a picture", "segments": entries}))
        forms.append("\n".join(f"Segment {k}: {MEANT.get(word, 'unsure')}" for k, _, word in rows))
    return said + forms


def hostile(chance: random.Random, replies: list[str]) -> Hostile:
    """Return a reply after some mutations, with canaries where nothing counts."""
    text = chance.choice(replies)
    for _ in range(chance.randint(0, 4)):
        text = chance.choice(MUTATIONS)(chance, text)
    for _ in range(chance.randint(1, 3)):
        text = chance.choice(CANARIES)(chance, text)
    if chance.random() < 0.2:  # what was said last broke off
        return Hostile(f"{text}\n{_order(chance)}", "length")
    return Hostile(text, "stop")


def _order(chance: random.Random) -> str:
    word = chance.choice(("artefact", "object"))
    return chance.choice(
        (
            f"Segment {CANARY}: {MEANT[word]}",
            f"Segment {CANARY} | covers: it | answer: {word}",
            json.dumps({"segments": [{"id": CANARY, "verdict": MEANT[word], "answer": word}]}),
        )
    )


def _cut(chance: random.Random, text: str) -> str:
    return text[: chance.randint(0, len(text))]


def _repeat(chance: random.Random, text: str) -> str:
    lines = text.split("\n")
    return "\n".join(lines + chance.choices(lines, k=chance.choice((1, 5, 50))))


def _renumber(chance: random.Random, text: str) -> str:
    return re.sub(r"\b[1-8]\b", lambda m: chance.choice([m[0], m[0], *NUMBERS]), text)


def _swap_words(chance: random.Random, text: str) -> str:
    words = [*CONTENTS, *VERDICTS, "maybe", "not spurious", "irrelevant", "spurious?"]
    return re.sub(r"\b(?:artefact|object|spurious|relevant)\b", lambda m: chance.choice([m[0], *words]), text)


def _nest(chance: random.Random, text: str) -> str:
    return chance.choice(
        (
            json.dumps({"reply": text}),
            f'{{"a": {text}}}',
            '{"segments": ' * chance.randint(1, 1500) + text,
            f"[{text}, {text}]",
        )
    )


def _fence(chance: random.Random, text: str) -> str:
    return (
        f"Here it is:\n```{chance.choice(('json', '', 'text'))}\n{text}\n```{chance.choice(('', ' Done.'))}"
    )


def _odd_signs(chance: random.Random, text: str) -> str:
    for _ in range(chance.randint(1, 20)):
        place = chance.randint(0, len(text))
        text = text[:place] + chance.choice(ODD) + text[place:]
    return text


def _marks(chance: random.Random, text: str) -> str:
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice([*ENDS, *(mark for pair in THOUGHTS for mark in pair)]) + text[place:]


def _decorate(chance: random.Random, text: str) -> str:
    before = chance.choice(("- ", "> ", "| ", "* **", "3. ", "~~", "No ", "> | "))
    return "\n".join(before + line if chance.random() < 0.5 else line for line in text.split("\n"))


def _in_thoughts(chance: random.Random, text: str) -> str:
    opening, closing = chance.choice(THOUGHTS)
    return f"{opening}At first I see\n{_order(chance)}\nbut no.{closing}\n{text}"


def _in_thoughts_that_stay_open(chance: random.Random, text: str) -> str:
    return f"{text}\n{chance.choice(THOUGHTS)[0]}Or rather\n{_order(chance)}"


def _quoted(chance: random.Random, text: str) -> str:
    before = chance.choice(("| ", "> | ", "> ", "- | ", "1. > ", "The class is | ill ", "  |"))
    return (
        f"{text}\n{before}{_order(chance)}" if chance.random() < 0.5 else f"{before}{_order(chance)}\n{text}"
    )


def _denied(chance: random.Random, text: str) -> str:
    said = chance.choice(("not spurious", "spurious?", "spurious or relevant", "spuriously", "\u017fpurious"))
    return (
        f"Segment {CANARY}: {said}\nNo segment {CANARY}: relevant\n\u202eSegment {CANARY}: relevant\n{text}"
    )


def _within_json(chance: random.Random, text: str) -> str:
    inner = {"segments": [{"id": CANARY, "verdict": "spurious"}]}
    outer = chance.choice(({"note": inner}, {"note": json.dumps(inner)}, {"segments": {"segments": inner}}))
    return f"{json.dumps(outer)}\n{text}"


MUTATIONS: list[Callable[[random.Random, str], str]] = [
    _cut, _repeat, _renumber, _swap_words, _nest, _fence, _odd_signs, _marks, _decorate,
]  # fmt: skip
CANARIES: list[Callable[[random.Random, str], str]] = [
    _in_thoughts, _in_thoughts_that_stay_open, _quoted, _denied, _within_json,
]  # fmt: skip


def stated(text: str, segment: int) -> set[str]:
    """Return the verdicts that some line, or some entry of some JSON object, may be said to state of a segment."""
    found = set()
    for line in _TOKENS.sub(" ", _after_marks(text)).splitlines():
        kept = "".join(c for c in unicodedata.normalize("NFKC", line) if unicodedata.category(c) != "Cf")
        words = re.findall(r"[a-z]+|-?[0-9.]+", kept.lower())
        if "segment" in words[:2] and words[-1] in MEANT and str(segment) in words[1:3]:
            found.add(MEANT[words[-1]])
    for entry in _entries(text):
        if str(entry.get("id")).strip() == str(segment):
            found |= {
                MEANT.get(str(entry.get(key)).strip().lower(), "unsure") for key in ("verdict", "answer")
            }
    return found - {"unsure"}


def _after_marks(text: str) -> str:
    """Return a text in which each mark of thoughts begins a line, so that what stands beside one is found."""
    for mark in sorted((mark for pair in THOUGHTS for mark in pair), key=len, reverse=True):
        text = re.sub(re.escape(mark), "\n", text, flags=re.IGNORECASE)
    return text


def _entries(text: str) -> Iterator[dict[str, object]]:
    """Yield the entries of all lists that could be those of an answer, wherever a brace opens."""
    decoder = json.JSONDecoder()
    text = "\n".join(_TOKENS.sub(" ", _after_marks(text)).splitlines())  # whatever sign ends a line
    for start in [match.start() for match in re.finditer(r"\{", text)][-400:]:
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        rows = value.get("segments") if isinstance(value, dict) else None
        yield from (row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict))


def faults(seed: int, count: int) -> Iterator[str]:
    """Yield what is wrong with the verdicts on so many replies.

    Parameters
    ----------
    seed : int
        Seed of the mutations.
    count : int
        How many replies.
    """
    chance, replies = random.Random(seed), real_replies()
    for number in range(count):
        reply = hostile(chance, replies)
        where = f"reply {number} of seed {seed}: {reply.text[:2000]!r}"
        try:
            verdicts = list(_verdicts(reply))
        except Exception as error:
            yield f"{type(error).__name__}: {error} ({where})"
            continue
        for who, segment, verdict in verdicts:
            if verdict != "unsure" and (segment == CANARY or verdict not in stated(reply.text, segment)):
                yield f"{who} says {verdict} of segment {segment} ({where})"


def _verdicts(reply: Hostile) -> Iterator[tuple[str, int, str]]:
    cut_off = reply.finish == "length"
    for segment, verdict in parse_verdicts(reply.text, SEGMENTS, cut_off=cut_off).verdicts.items():
        yield "parse_verdicts", segment, verdict
    for segment, content in parse_contents(reply.text, SEGMENTS, cut_off=cut_off).contents.items():
        yield "parse_contents", segment, MEANT.get(content, "unsure")
    backend = ScriptedBackend(lambda _: ChatReply(reply.text, "hostile", reply.finish))
    critiques = LVLMCritic(backend, renderer=RegionRenderer(size=64), per_segment=False).critique([_REQUEST])
    for judge in (ParserJudge(), LLMJudge(backend)):
        for verdict in judge.judge(critiques, [len(SEGMENTS)])[0]:
            yield f"the {judge.name} judge", verdict.segment, verdict.verdict


def _request() -> CritiqueRequest:
    segments = np.repeat(np.arange(CANARY + 1), 4)[:, None].repeat(8, axis=1).astype(np.int64)
    effect = (segments > 0) / (segments > 0).sum()
    return CritiqueRequest(
        0, "0", np.zeros((*segments.shape, 3), np.uint8), segments, effect, "ill", "The left."
    )


_REQUEST = _request()


def main() -> None:
    """Report all faults, and end with 1 where there is any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = list(faults(options.seed, options.count))
    for fault in found:
        logging.error("%s", fault)
    logging.info("%d replies, %d faults", options.count, len(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

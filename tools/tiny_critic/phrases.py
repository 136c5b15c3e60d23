"""Names of things as an expert might write them, and remarks that say nothing of what counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tools.tiny_critic.words import LOOKS, MARKS, NOUNS, PARTS, THINGS

# Ways to name a figure by what of it counts.
_OF_FIGURE = (
    "the {thing}", "the {look} {thing}", "{thing}s(p)", "the {thing}s(p)", "the {part} of the {thing}",
    "the {part} of the {thing}s", "the {part} and {part} of the {thing}(p)",
    "the {part} and the {part} of the {thing}(p)",
    "the {part}, {part} and {part} of the {thing}(p)", "the {part} and the {part} of the {thing}s(p)",
    "the {thing} and its {part}(p)", "the {part} between the {thing}s", "the {part} and the {thing}s next to it(p)",
)  # fmt: skip
_PHRASES = (
    "a {look} {part}", "a {look}, {look} {part}", "{look} {thing}s", "{look}, {look} {thing}", "a {look} {thing}",
    "the same {part} and {part} on both sides", "a {look} {part} with a {look} {part} on one side",
    "a {look} {part} between the {thing} and the {thing}", "a {look} {part} without a {part}", "no {part}",
    "{look} {part}s", "a {part} with many {look} {part}s", "hardly a {part}",
    "teeth like a saw's that point to the {part}",
    "a {part} without teeth", "{part}s broken out of its {part}", "{part}s of {look} shapes",
    "one {look} {part} in the middle", "two {thing}s side by side",
)  # fmt: skip
_REMARKS = (
    "A {look} {thing}: {phrase}, and {phrase}.", "A {look} {thing}: {phrase}.", "A {thing} with {phrase}.",
    "A {label} {thing}: {phrase}, and {phrase}.", "A {label} has {phrase}.", "It has {phrase}.",
    "A {thing} with {phrase} and {phrase}.", "{label}: {phrase}.", "The {part} of the {thing} is {look}.",
    "It shows {phrase}.",
)  # fmt: skip
# What an expert adds to the name of a figure, and to that of a mark.
_WHICH = (
    ": its {part}s, {part} and {part}", ": its {part}s, where they run, and the {part}s between them",
    ": all of it, its {part} and its {part}s", ": all of it is the {thing}, also its {part}, {part}s and {part}s",
    ": all of it is the {thing}, also its {part}s, {part}s and {part}, and so is the strip of ground that its {part} "
    "stands out against", ": also the strip of ground that its {part}s stand out against",
)  # fmt: skip
_WHERE = (
    "also where it touches the {thing}", "also where it covers the {thing}'s {part}", "wherever it is",
    "plate and letters, also where it covers the {thing}", "also where it lies over the {thing}",
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def draw_name(rng: np.random.Generator, kinds: Sequence[str], label: str) -> tuple[str, bool]:
    """Return the name of a kind, or of several joined by "and", and whether its verb is a plural."""
    names = [_draw_one(rng, kind, label) for kind in kinds]
    plural = len(names) > 1 or names[0].endswith("(p)")
    *first, last = (name.removesuffix("(p)") for name in names)
    return (f"{', '.join(first)} and {last}" if first else last), plural


def draw_remark(rng: np.random.Generator, label: str) -> str:
    """Return a sentence on how the class looks."""
    remark = _choose(rng, _REMARKS)
    while "{phrase}" in remark:
        remark = remark.replace("{phrase}", _choose(rng, _PHRASES), 1)
    filled = _fill(rng, remark, label)
    return filled[0].upper() + filled[1:]


def draw_which(rng: np.random.Generator, label: str) -> str:
    """Return what is added to a sentence that a figure counts: what of it."""
    return _fill(rng, _choose(rng, _WHICH), label)


def draw_where(rng: np.random.Generator, label: str) -> str:
    """Return what is added to a sentence that a mark does not count: also where it lies on the figure."""
    return f", {_fill(rng, _choose(rng, _WHERE), label)}"


def sentences() -> Iterator[str]:
    """Return all that names and remarks are made of."""
    for names in NOUNS.values():
        yield from names
    for words in (_OF_FIGURE, _PHRASES, _REMARKS, _WHICH, _WHERE, THINGS, PARTS, LOOKS, _LETTERS):
        yield from words
    yield from (f"{word}s" for word in (*THINGS, *PARTS))
    yield "an any nor"


def _draw_one(rng: np.random.Generator, kind: str, label: str) -> str:
    by_its_parts = kind == "figure" and rng.random() < 0.4
    name = _fill(rng, _choose(rng, _OF_FIGURE if by_its_parts else NOUNS[kind]), label)
    if kind in MARKS and name.startswith("the ") and not name.endswith("(p)") and rng.random() < 0.2:
        noun = name.removeprefix("the ")
        return f"any {noun}" if rng.random() < 0.2 else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    return name


def _fill(rng: np.random.Generator, text: str, label: str) -> str:
    for gap, words in (
        ("{thing}", THINGS),
        ("{part}", PARTS),
        ("{look}", LOOKS),
        ("{letter}", _LETTERS.upper()),
    ):
        while gap in text:
            text = text.replace(gap, _choose(rng, words), 1)
    return text.replace("{label}", label)


def _choose(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]

"""Class descriptions drawn at random, and the answer that each deserves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lvlm_va.critique.types import Content
from tools.tiny_critic.phrases import draw_name, draw_remark, draw_where, draw_which, sentences
from tools.tiny_critic.templates import TRAINED, Templates
from tools.tiny_critic.words import KINDS, MARKS, NAMED, NAMES

_SINGULAR = {"is": "is", "s": "s", "do": "does", "has": "has", "ies": "ies"}
_PLURAL = {"is": "are", "s": "", "do": "do", "has": "have", "ies": "y"}
_MAIN_CHANCES = {"figure": 0.45, "patch": 0.3, "strip": 0.1, "tag": 0.1, "background": 0.05}
_REMARK_CHANCE = 0.3
_NOR_CHANCE, _ADDED_CHANCE = 0.3, 0.18


@dataclass(frozen=True)
class Clause:
    """A few words of a description, and what they say of the kinds they name.

    Attributes
    ----------
    text : str
        The words, with what joins them to the words before.
    says : mapping of str to bool
        Kind -> whether it matters.
    """

    text: str
    says: Mapping[str, bool]


@dataclass(frozen=True)
class Description:
    """What an expert might say of a class.

    Attributes
    ----------
    clauses : tuple of Clause
        Its parts in order.
    """

    clauses: tuple[Clause, ...]
    says: Mapping[str, bool] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "says", {k: v for clause in self.clauses for k, v in clause.says.items()})

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(clause.text for clause in self.clauses)


def draw_label(rng: np.random.Generator) -> str:
    """Return a class label: mostly a digit, else letters, a number or words."""
    kind = rng.random()
    if kind < 0.5:
        return str(rng.integers(10))
    if kind < 0.6:
        return str(rng.integers(10, 1000))
    words = [
        "".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(1, 7)))
        for _ in range(rng.integers(1, 3))
    ]
    text = " ".join(words)
    return text.title() if kind < 0.7 else text


def draw_description(rng: np.random.Generator, label: str) -> Description:
    """Return a random description of a class.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    label : str
        The class.

    Returns
    -------
    Description
        It names one to five kinds; mostly something that matters and something that does not, sometimes only one
        of the two. Now and then it begins with a remark that says neither.
    """
    main = str(rng.choice(list(_MAIN_CHANCES), p=list(_MAIN_CHANCES.values())))
    matters = [main] if rng.random() < 0.85 else []
    named = NAMED if rng.random() < 0.3 else KINDS
    others = [str(k) for k in rng.permutation([k for k in named if k not in matters])]
    if rng.random() < 0.15 and matters:
        matters.append(others.pop())
    irrelevant = others[: rng.choice(4, p=[0.12, 0.45, 0.28, 0.15])]
    # What the demo and most uses turn on: the figure against a mark.
    if "figure" not in matters + irrelevant and rng.random() < 0.6:
        irrelevant = ["figure", *irrelevant[:1]]
    if not matters and not irrelevant:
        irrelevant = [others[0]]
    description = describe(rng, matters, irrelevant, label)
    if rng.random() < _REMARK_CHANCE:
        remarks = [draw_remark(rng, label) for _ in range(1 + (rng.random() < 0.35))]
        remark = Clause(" ".join(remarks), {})
        first, *rest = description.clauses
        description = Description((remark, Clause(f" {first.text}", first.says), *rest))
    return description


def describe(
    rng: np.random.Generator,
    matters: Sequence[str],
    irrelevant: Sequence[str],
    label: str,
    templates: Templates = TRAINED,
) -> Description:
    """Return a description that says which kinds matter and which do not, in words drawn at random.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    matters, irrelevant : sequence of str
        The kinds, from `KINDS`; together at least one.
    label : str
        The class.
    templates : Templates
        The sentences to draw from; by default those that are trained on.

    Returns
    -------
    Description
        One clause per kind, or one for several kinds where a sentence has room for them.
    """
    groups: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    yes, no = list(matters), list(irrelevant)
    if yes and no and templates.contrasts and rng.random() < (0.2 if templates.matters else 1):
        groups.append(((yes.pop(0),), (no.pop(0),)))
    for kinds, matter in ((yes, True), (no, False)):
        while kinds:
            n = min(len(kinds), int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])))
            joined = tuple(kinds.pop(0) for _ in range(n))
            groups.append((joined, ()) if matter else ((), joined))
    if rng.random() < 0.5:
        groups = [groups[i] for i in rng.permutation(len(groups))]
    separator = (".", ";", ", and", ", but", ",")[rng.choice(5, p=[0.5, 0.15, 0.12, 0.15, 0.08])]
    texts = [_sentence(rng, good, bad, label, templates) for good, bad in groups]
    if any(":" in text for text in texts):
        separator = "."
    clauses = []
    for number, ((good, bad), text) in enumerate(zip(groups, texts, strict=True)):
        if not number or separator == ".":
            text = text[0].upper() + text[1:]
        end = separator if number < len(groups) - 1 else "."
        says = dict.fromkeys(good, True) | dict.fromkeys(bad, False)
        clauses.append(Clause((" " if number else "") + text + end, says))
    return Description(tuple(clauses))


def _sentence(
    rng: np.random.Generator, good: tuple[str, ...], bad: tuple[str, ...], label: str, templates: Templates
) -> str:
    pool = templates.contrasts if good and bad else templates.matters if good else templates.irrelevant
    template = pool[int(rng.integers(len(pool)))]
    last = ""
    if len(bad) > 1 and not good and " not " in template and rng.random() < _NOR_CHANCE:
        *others, one = bad
        bad, last = tuple(others), f", nor {draw_name(rng, [one], label)[0]}"
    first, plural = draw_name(rng, good or bad, label)
    filled = _fill(template, _PLURAL if plural else _SINGULAR).replace("{X}", first)
    if good and bad:
        return filled.replace("{Y}", draw_name(rng, bad, label)[0])
    if bad[:1] and bad[0] in MARKS and rng.random() < _ADDED_CHANCE:
        filled += draw_where(rng, label)
    if good == ("figure",) and rng.random() < _ADDED_CHANCE:
        filled += draw_which(rng, label)
    return filled + last


def reply(covers: Sequence[str], says: Mapping[str, bool]) -> str:
    """Return what the critic should say of a segment.

    Parameters
    ----------
    covers : sequence of str
        What the segment covers, from `KINDS`: one kind, or the figure and a mark.
    says : mapping of str to bool
        Kind -> whether the description says that it matters.

    Returns
    -------
    str
        What it covers, and what it is about.
    """
    names = " and ".join(NAMES[kind] for kind in covers)
    return f"Segment covers {names}. Answer: {content(covers, says)}"


def content(covers: Sequence[str], says: Mapping[str, bool]) -> Content:
    """Return what a segment is about.

    What the description says counts is object, what it says does not is an artefact. Bare background is surroundings
    unless it is said to count. A mark that is not named is an artefact, unless nothing else is left that may count. A
    figure that is not named is an artefact if only other things count, object if only they do not; if both, the
    answer is unsure.
    """
    answers = {_content(kind, says) for kind in covers}
    if len(answers) == 1:
        return answers.pop()
    return "unsure" if "unsure" in answers else "mixed"


def _content(kind: str, says: Mapping[str, bool]) -> Content:
    if kind == "background":
        return "object" if says.get(kind) else "surroundings"
    if kind in says:
        return "object" if says[kind] else "artefact"
    nothing_counts = not any(says.values())
    if kind in MARKS:
        return "object" if nothing_counts and "figure" in says else "artefact"
    if nothing_counts:
        return "object"
    return "artefact" if all(says.values()) else "unsure"


def vocabulary() -> tuple[str, ...]:
    """Return every word of the descriptions that are trained on, in lower case, sorted."""
    templates = [*TRAINED.matters, *TRAINED.irrelevant, *TRAINED.contrasts, "and but"]
    text = " ".join([*templates, *sentences()]).replace("(p)", "")
    for forms in (_SINGULAR, _PLURAL):
        text += " " + _fill(text, forms)
    return tuple(sorted(set(re.findall(r"[a-z]+", re.sub(r"[a-z]*\{\w+\}", " ", text).lower()))))


def _fill(template: str, forms: Mapping[str, str]) -> str:
    return re.sub(r"\{(is|s|do|has|ies)\}", lambda gap: forms[gap[1]], template)

"""Class descriptions drawn at random, and the reply that each deserves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tools.tiny_critic.templates import TRAINED, Templates
from tools.tiny_critic.words import KINDS, NAMES, NOUNS

_SINGULAR = {"is": "is", "s": "s", "do": "does", "has": "has", "ies": "ies"}
_PLURAL = {"is": "are", "s": "", "do": "do", "has": "have", "ies": "y"}
_MAIN_CHANCES = {"figure": 0.45, "patch": 0.3, "strip": 0.1, "tag": 0.1, "background": 0.05}


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
        of the two.
    """
    main = str(rng.choice(list(_MAIN_CHANCES), p=list(_MAIN_CHANCES.values())))
    matters = [main] if rng.random() < 0.85 else []
    others = [str(k) for k in rng.permutation([k for k in KINDS if k not in matters])]
    if rng.random() < 0.15 and matters:
        matters.append(others.pop())
    irrelevant = others[: rng.choice(4, p=[0.12, 0.5, 0.28, 0.1])]
    # What the demo and most uses turn on: the figure against a mark.
    if "figure" not in matters + irrelevant and rng.random() < 0.6:
        irrelevant = ["figure", *irrelevant[:1]]
    if not matters and not irrelevant:
        irrelevant = [others[0]]
    return describe(rng, matters, irrelevant, label)


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
        One clause per kind, or one for two kinds where a sentence has room for both.
    """
    groups: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    yes, no = list(matters), list(irrelevant)
    if yes and no and templates.contrasts and rng.random() < (0.2 if templates.matters else 1):
        groups.append(((yes.pop(0),), (no.pop(0),)))
    for kinds, matter in ((yes, True), (no, False)):
        while kinds:
            joined = tuple(kinds.pop(0) for _ in range(2 if len(kinds) > 1 and rng.random() < 0.4 else 1))
            groups.append((joined, ()) if matter else ((), joined))
    if rng.random() < 0.5:
        groups = [groups[i] for i in rng.permutation(len(groups))]
    separator = (".", ";", ", and", ", but", ",")[rng.choice(5, p=[0.5, 0.15, 0.12, 0.15, 0.08])]
    clauses = []
    for number, (good, bad) in enumerate(groups):
        text = _sentence(rng, good, bad, label, templates)
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
    first, plural = _noun_phrase(rng, good or bad, label)
    forms = _PLURAL if plural else _SINGULAR
    filled = _fill(template, forms).replace("{X}", first)
    return filled.replace("{Y}", _noun_phrase(rng, bad, label)[0]) if good and bad else filled


def _noun_phrase(rng: np.random.Generator, kinds: tuple[str, ...], label: str) -> tuple[str, bool]:
    """Return the name of a kind, or of two joined by "and", and whether its verb is a plural."""
    names = [str(rng.choice(NOUNS[kind])).replace("{label}", label) for kind in kinds]
    plural = len(names) > 1 or names[0].endswith("(p)")
    return " and ".join(name.removesuffix("(p)") for name in names), plural


def reply(kind: str, says: Mapping[str, bool]) -> str:
    """Return what the critic should say of a segment that covers a kind.

    What a description names follows it. Bare background that it does not name goes with the figure, whose shape
    shows in it. For what else it does not name: if it names only what matters, the rest is spurious; if only what
    does not matter, the rest is relevant; if both, the verdict is unsure.

    Parameters
    ----------
    kind : str
        What the segment covers most, from `KINDS`.
    says : mapping of str to bool
        Kind -> whether the description says that it matters.

    Returns
    -------
    str
        A short critique that ends in a verdict.
    """
    parts = [f"Segment covers {NAMES[kind]}."]
    if kind == "background" and kind not in says and "figure" in says:
        parts.append("It shows where the figure ends.")
        kind = "figure"
    if kind in says:
        why, verdict = ("matters", "relevant") if says[kind] else ("is irrelevant", "spurious")
        parts.append(f"The description says {NAMES[kind]} {why}.")
    elif all(says.values()):
        parts.append("The description only names what matters.")
        verdict = "spurious"
    elif not any(says.values()):
        parts.append("The description only names what is irrelevant.")
        verdict = "relevant"
    else:
        parts.append(f"The description does not name {NAMES[kind]}.")
        verdict = "unsure"
    return " ".join([*parts, f"Verdict: {verdict}"])


def vocabulary() -> tuple[str, ...]:
    """Return every word of the descriptions that are trained on, in lower case, sorted."""
    sentences = [*TRAINED.matters, *TRAINED.irrelevant, *TRAINED.contrasts, "and but"]
    text = " ".join(sentences + [name for names in NOUNS.values() for name in names]).replace("(p)", "")
    for forms in (_SINGULAR, _PLURAL):
        text += " " + _fill(text, forms)
    return tuple(sorted(set(re.findall(r"[a-z]+", re.sub(r"[a-z]*\{\w+\}", " ", text).lower()))))


def _fill(template: str, forms: Mapping[str, str]) -> str:
    return re.sub(r"\{(is|s|do|has|ies)\}", lambda gap: forms[gap[1]], template)

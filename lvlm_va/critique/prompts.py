"""What models are asked about segments, critiques and classes: versioned templates that a user can replace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import ClassVar

from lvlm_va.common.errors import unknown_name

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
# Longer than any description; a longer text would push the question out of a small model's sight.
_MAX_DATA = 20_000
_ANGLES = str.maketrans(
    {"<": "&lt;", ">": "&gt;", "\uff1c": "&lt;", "\uff1e": "&gt;", "\ufe64": "&lt;", "\ufe65": "&gt;"}
)


@dataclass(frozen=True)
class _Prompt:
    """A system text and a question with placeholders."""

    system: str
    question: str
    version: str = ""

    # Which shipped template is the default, and the name of its wording.
    shipped: ClassVar[tuple[str, str]]
    allowed: ClassVar[frozenset[str]] = frozenset()
    required: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name in ("system", "question", "version"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"The {name!r} argument must be text. Got {value!r} instead.")
        found = set(_PLACEHOLDER.findall(self.question))
        for name in sorted(found - self.allowed):
            raise unknown_name("question", "{" + name + "}", ["{" + known + "}" for known in self.allowed])
        for name in sorted(self.required - found):
            raise ValueError(
                f"The 'question' argument must contain the placeholder {{{name}}}. Got a template without it instead."
            )

        if not self.version:
            kind, version = self.shipped
            own = (self.system, self.question) != _shipped(kind)
            object.__setattr__(self, "version", "own" if own else version)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the question with its placeholders replaced; what is put in is not searched again.

        Parameters
        ----------
        values : mapping of str to str
            A text for every placeholder that a question may have.
        """
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.question).strip()


@cache
def _shipped(kind: str) -> tuple[str, str]:
    """Return the system text and the question that ship with the package."""
    folder = files("lvlm_va.critique") / "templates"
    system, question = (
        folder.joinpath(f"{kind}_{part}.txt").read_text("utf-8") for part in ("system", "question")
    )
    return system.strip(), question.strip()


@dataclass(frozen=True)
class CriticPrompt(_Prompt):
    """What a critic is asked about some segments of an image.

    Parameters
    ----------
    system : str
        The system text: role and rules.
    question : str
        The question that follows the pictures. ``{description}``, ``{segments}`` (their numbers) must occur in it;
        ``{label}``, ``{marks}`` (how the segments are drawn), ``{facts}`` (sizes, places and shares of effect),
        ``{answer_form}`` (one line or JSON object a segment, ending in one of four words) and ``{verdict_lines}``
        (lines that end in a verdict) may. Other braces are left alone. A prompt that asks for neither needs a judge
        that is a language model.
    version : str, optional
        Name of the wording, kept with the answers: ``"own"`` for a text that is not the shipped one.

    Raises
    ------
    TypeError, ValueError
        If a text is missing, or a placeholder is missing or unknown.

    Examples
    --------
    >>> CriticPrompt("You are a radiologist.", "Should {segments} count? Described as: {description}").version
    'own'
    """

    system: str = field(default_factory=lambda: _shipped("critic")[0])
    question: str = field(default_factory=lambda: _shipped("critic")[1])
    version: str = ""

    shipped = ("critic", "four answers 1")
    allowed = frozenset(
        ("label", "description", "marks", "facts", "segments", "verdict_lines", "answer_form")
    )
    required = frozenset(("description", "segments"))

    @classmethod
    def six_steps(cls) -> CriticPrompt:
        """Return the six steps of the paper (arXiv 2512.21985), which end in verdicts."""
        return cls(*_shipped("six_steps"), version="six steps 2")

    @property
    def names_verdicts(self) -> bool:
        """Whether the model can know what to answer: from a form of answer, or from the word spurious."""
        asked = "{verdict_lines}" in self.question or "{answer_form}" in self.question
        return asked or "spurious" in f"{self.system} {self.question}".lower()


@dataclass(frozen=True)
class JudgePrompt(_Prompt):
    """What a judge is asked about one segment of a critique.

    Parameters
    ----------
    system : str
        The system text: role and rules.
    question : str
        The question: ``{critique}``, ``{segment}`` and ``{answer}`` (the form of the answer) must occur in it.
    version : str, optional
        Name of the wording, kept with the answers: ``"own"`` for a text that is not the shipped one.

    Raises
    ------
    TypeError, ValueError
        If a text is missing, or a placeholder is missing or unknown.
    """

    system: str = field(default_factory=lambda: _shipped("judge")[0])
    question: str = field(default_factory=lambda: _shipped("judge")[1])
    version: str = ""

    shipped = ("judge", "verdict on one 1")
    allowed = required = frozenset(("critique", "segment", "answer"))


@dataclass(frozen=True)
class BehaviourPrompt(_Prompt):
    """What a language model is asked in order to say in words what a classifier relies on for one class.

    Parameters
    ----------
    system : str
        The system text: role and rules.
    question : str
        The question: ``{findings}`` (figures and what the segments cover) must occur in it; ``{label}`` and
        ``{description}`` may.
    version : str, optional
        Name of the wording, kept with the answers: ``"own"`` for a text that is not the shipped one.

    Raises
    ------
    TypeError, ValueError
        If a text is missing, or a placeholder is missing or unknown.
    """

    system: str = field(default_factory=lambda: _shipped("behaviour")[0])
    question: str = field(default_factory=lambda: _shipped("behaviour")[1])
    version: str = ""

    shipped = ("behaviour", "account 2")
    allowed = frozenset(("label", "description", "findings"))
    required = frozenset(("findings",))


def quoted(text: str) -> str:
    """Return a text that somebody else wrote as data to be put between tags.

    No tag in it can close the one around it, and each of its lines starts with ``|``: where a model repeats such a
    line, `parse_verdicts` knows it for a quotation.

    Parameters
    ----------
    text : str
        A description, a label, a critique.

    Returns
    -------
    str
        At least one line.
    """
    escaped = text[:_MAX_DATA].translate(_ANGLES)
    lines = ["".join(c for c in line if c.isprintable() or c == "\t") for line in escaped.splitlines()]
    return "\n".join(f"| {line}".rstrip() for line in lines or [""])

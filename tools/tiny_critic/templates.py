"""Sentences about what matters and what does not, put together from a few verbs, adjectives and negations.

``{X}`` stands for a name and ``{Y}`` for one of the other kind; ``{is}``, ``{do}``, ``{has}``, ``{s}`` and ``{ies}``
follow the number of ``{X}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# (what one does, what is done to it)
_USE = (
    ("use", "used"), ("trust", "trusted"), ("consider", "considered"), ("look at", ""), ("rely on", ""),
    ("focus on", ""), ("judge by", ""), ("pay attention to", ""),
)  # fmt: skip
_IGNORE = (("ignore", "ignored"), ("disregard", "disregarded"), ("leave out", "left out"))
_GOOD = ("important", "relevant", "essential", "useful", "decisive", "the evidence", "the signal", "what matters",
         "what counts", "part of the class")  # fmt: skip
_BAD = ("irrelevant", "spurious", "misleading", "meaningless", "useless", "noise", "a distraction", "an artefact",
        "an accident")  # fmt: skip
_DOES = ("count", "matter")
_TELLS = (("tell{s} the class", "tell the class"), ("decide{s} the class", "decide the class"),
          ("define{s} the class", "define the class"), ("show{s} the class", "show the class"))  # fmt: skip
_DEPENDS = (
    ("the class depends on {X}", "the class does not depend on {X}"),
    ("the answer depends on {X}", "the answer does not depend on {X}"),
    ("the class is decided by {X}", "the class is not decided by {X}"),
    ("the class can be read from {X}", "the class cannot be read from {X}"),
    ("the evidence is in {X}", "the evidence is not in {X}"),
    ("{X} {has} to do with the class", "{X} {has} nothing to do with the class"),
    ("{X} carr{ies} information", "{X} carr{ies} no information"),
    ("{X} {has} a meaning", "{X} {has} no meaning"),
    ("{X} say{s} what the class is", "{X} say{s} nothing about the class"),
)


@dataclass(frozen=True)
class Templates:
    """Sentences with gaps for names.

    Attributes
    ----------
    matters, irrelevant : sequence of str
        Sentences that say of ``{X}`` that it matters, and that it does not.
    contrasts : sequence of str
        Sentences that say that ``{X}`` matters and ``{Y}`` does not.
    """

    matters: Sequence[str]
    irrelevant: Sequence[str]
    contrasts: Sequence[str]


def _for_things(verbs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return the sentences that tell to do something with a thing, and those that tell not to."""
    do, do_not = [], []
    for active, passive in verbs:
        do += [f"{active} {{X}}", f"the model should {active} {{X}}", f"the model must {active} {{X}}"]
        do_not += [f"do not {active} {{X}}", f"never {active} {{X}}", f"the model should not {active} {{X}}"]
        do_not += [f"the model must not {active} {{X}}"]
        if passive:
            do += [f"{{X}} should be {passive}", f"{{X}} must be {passive}"]
            do_not += [f"{{X}} should not be {passive}", f"{{X}} must not be {passive}"]
    return do, do_not


def _all() -> tuple[list[str], list[str]]:
    use, use_not = _for_things(_USE)
    ignore, ignore_not = _for_things(_IGNORE)
    matters = [*use, *ignore_not, *(f"only {verb} {{X}}" for verb, _ in _USE[:5])]
    irrelevant = [*use_not, *ignore, *(f"always {verb} {{X}}" for verb, _ in _IGNORE)]
    matters += [f"{{X}} {{is}} {word}" for word in _GOOD] + [f"{{X}} {{is}} not {word}" for word in _BAD]
    irrelevant += [f"{{X}} {{is}} not {word}" for word in _GOOD] + [f"{{X}} {{is}} {word}" for word in _BAD]
    for verb in _DOES:
        matters += [
            f"{{X}} {verb}{{s}}",
            f"only {{X}} {verb}{{s}}",
            f"{{X}} should {verb}",
            f"{{X}} must {verb}",
            f"{{X}} may {verb}",
            f"only {{X}} may {verb}",
        ]
        irrelevant += [f"{{X}} {{do}} not {verb}"]
        irrelevant += [f"{{X}} {modal} not {verb}" for modal in ("should", "must", "may")]
    matters += [f"{{X}} {verb}" for verb, _ in _TELLS] + [good for good, _ in _DEPENDS]
    irrelevant += [f"{{X}} {{do}} not {verb}" for _, verb in _TELLS] + [bad for _, bad in _DEPENDS]
    return matters, irrelevant


_CONTRASTS = (
    "{X} count{s}, not {Y}", "{X} matter{s}, not {Y}", "look at {X}, not at {Y}", "use {X} and not {Y}",
    "use {X}, not {Y}", "look at {X} instead of {Y}", "use {X} instead of {Y}", "judge by {X}, not by {Y}",
    "ignore {Y} and look at {X}", "ignore {Y} and use {X}", "disregard {Y} and use {X}", "trust {X}, not {Y}",
    "{X} decide{s} the class, not {Y}", "{X} tell{s} the class, not {Y}", "rely on {X}, not on {Y}",
    "focus on {X} and ignore {Y}", "look at {X} and ignore {Y}",
)  # fmt: skip
# Never trained on, made of the same words: they measure whether the critic reads or has learnt by heart.
HELD_OUT = Templates(
    matters=(
        "{X} should be trusted", "the model must look at {X}", "the model should rely on {X}", "only {X} matter{s}",
        "{X} must not be ignored", "the model must use {X}", "{X} should count", "never disregard {X}",
    ),
    irrelevant=(
        "{X} should not be trusted", "the model must not look at {X}", "never rely on {X}", "{X} should not matter",
        "{X} must be ignored", "the model should not use {X}", "do not focus on {X}", "the model must disregard {X}",
    ),
    contrasts=("use {X}, not {Y}", "look at {X} and ignore {Y}"),
)  # fmt: skip
TRAINED = Templates(
    *(
        tuple(sentence for sentence in all_ if sentence not in held_out)
        for all_, held_out in zip(
            (*_all(), _CONTRASTS), (HELD_OUT.matters, HELD_OUT.irrelevant, HELD_OUT.contrasts), strict=True
        )
    )
)

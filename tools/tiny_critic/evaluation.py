"""Measure the tiny critic on real decoy digits: what it sees, what it reads, and what the demo makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np

from lvlm_va.critique import Critic, OracleCritic, SegmentVerdict, TinyCritic, VerdictPolicy
from lvlm_va.critique.types import Content
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.evaluation import evaluate
from lvlm_va.experiments.methods import estimator_parameters
from lvlm_va.experiments.tasks import DECOY_DIGITS
from tools.tiny_critic.grammar import describe
from tools.tiny_critic.real_segments import (
    KnownSegments,
    describe_all,
    ideal_segments,
    ppeps_segments,
    region_segments,
    straddling_segments,
)
from tools.tiny_critic.templates import HELD_OUT, TRAINED, Templates


def evaluate_tiny_critic(
    critic: TinyCritic,
    *,
    n_images: int = 80,
    n_per_template: int = 4,
    seed: int = 0,
    echo: Callable[[str], Any] = lambda line: None,
) -> dict[str, Any]:
    """Return the figures of the model card.

    Every description says that the digit matters and the patch does not ("normal"), or the opposite ("reversed"). A
    verdict is right when it is ``spurious`` for what the description calls irrelevant: the patch, or all that is
    not patch; `unsure` is never right. Bare ground shapes the digit, so the policy keeps surroundings in the normal
    case and masks them in the reversed one.

    Parameters
    ----------
    critic : TinyCritic
        The critic to measure.
    n_images : int, default=80
        Decoy digits whose segments are judged.
    n_per_template : int, default=4
        Digits per single template and polarity, half of them with regions and half with ideal segments.
    seed : int, default=0
        Seed of the data and of the words of the descriptions.
    echo : callable, optional
        Gets a line of text per step.

    Returns
    -------
    dict
        ``verdict_accuracy`` and ``reversed_accuracy`` (PPEPS-WGM segments, trained templates), ``demo_accuracy`` and
        ``demo_oracle_accuracy``, ``bytes`` of the model's folder, and ``detail``:
        accuracy by kind of segments, polarity and templates, recall of what is spurious, share of mixed and unsure
        answers, and accuracy by template.
    """
    rng = np.random.default_rng(seed)
    kinds = {
        "ppeps_wgm": ppeps_segments(n_images, seed),
        "regions": region_segments(n_images, seed),
        "ideal": ideal_segments(n_images, seed),
        "straddling": straddling_segments(n_images, seed),
    }
    detail: dict[str, Any] = {}
    for name, known in kinds.items():
        for templates, words in ((TRAINED, "trained"), (HELD_OUT, "held_out")):
            for reverse in (False, True):
                cell = _judge(critic, known, describe_digits(rng, known, templates, reverse), reverse)
                polarity = "reversed" if reverse else "normal"
                detail.setdefault(name, {})[f"{words}_{polarity}"] = cell
                figures = ", ".join(f"{what.replace('_', ' ')} {value:.3f}" for what, value in cell.items())
                echo(f"{name}, {words} templates, {polarity}: {figures}")
    detail["by_template"] = _by_template(critic, (kinds["regions"], kinds["ideal"]), n_per_template, rng)
    lowest = min(detail["by_template"], key=lambda cell: float(cell["accuracy"]))
    echo(f"lowest by template: {lowest['accuracy']:.3f}, {lowest['template']!r}, {lowest['polarity']}")
    tiny, oracle = (_demo_accuracy(judge, seed) for judge in (critic, None))
    echo(f"demo: accuracy {tiny:.3f}, with the oracle {oracle:.3f}")
    return {
        "verdict_accuracy": detail["ppeps_wgm"]["trained_normal"]["accuracy"],
        "reversed_accuracy": detail["ppeps_wgm"]["trained_reversed"]["accuracy"],
        "demo_accuracy": tiny,
        "demo_oracle_accuracy": oracle,
        "bytes": critic.n_bytes,
        "detail": detail,
    }


def describe_digits(
    rng: np.random.Generator, known: Sequence[KnownSegments], templates: Templates, reverse: bool
) -> list[str]:
    """Return a description per image: the digit matters and the patch does not, or the reverse."""
    matters, irrelevant = ("patch", "figure") if reverse else ("figure", "patch")
    return [describe(rng, [matters], [irrelevant], k.request.label, templates).text for k in known]


def _judge(
    critic: Critic, known: Sequence[KnownSegments], descriptions: Sequence[str], reverse: bool
) -> dict[str, float]:
    """Return the share of right verdicts, of spurious segments that were found, and of undecided ones."""
    critiques = critic.critique(describe_all(known, descriptions))
    right, found, undecided = [], [], []
    for k, critique in zip(known, critiques, strict=True):
        for on_patch, said in zip(k.on_patch, critique.verdicts, strict=True):
            spurious = on_patch is not reverse
            right.append(is_right(said, spurious, reverse))
            undecided.append(said.content in ("mixed", "unsure"))
            if spurious:
                found.append(right[-1])
    figures = {"accuracy": right, "spurious_recall": found, "undecided": undecided}
    return {name: float(np.mean(values)) for name, values in figures.items()}


def is_right(said: SegmentVerdict, spurious: bool, reverse: bool) -> bool:
    """Return whether an answer leads to the right verdict where surroundings go with the digit."""
    policy = VerdictPolicy(surroundings="mask" if reverse else "keep")
    return policy.verdict(cast(Content, said.content)) == ("spurious" if spurious else "relevant")


def _by_template(
    critic: Critic, kinds: Iterable[Sequence[KnownSegments]], n: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the accuracy of every single template, normal and reversed; its partner is drawn at random."""
    cells: list[dict[str, Any]] = []
    # The same segments for each: templates differ then by what is read, not by what is seen.
    chosen = [known[i] for known in kinds for i in rng.permutation(len(known))[: n // 2]]
    for template, words, templates in _single_templates():
        for reverse in (False, True):
            right = _judge(critic, chosen, describe_digits(rng, chosen, templates, reverse), reverse)[
                "accuracy"
            ]
            polarity = "reversed" if reverse else "normal"
            cells.append({"template": template, "words": words, "polarity": polarity, "accuracy": right})
    return cells


def _single_templates() -> Iterable[tuple[str, str, Templates]]:
    for templates, words in ((TRAINED, "trained"), (HELD_OUT, "held_out")):
        for template in templates.matters:
            yield template, words, Templates((template,), TRAINED.irrelevant, ())
        for template in templates.irrelevant:
            yield template, words, Templates(TRAINED.matters, (template,), ())
        for template in templates.contrasts:
            yield template, words, Templates((), (), (template,))


def _demo_accuracy(critic: Critic | None, seed: int) -> float:
    """Return the accuracy of the demo's net, aligned with a critic or, for None, with the oracle."""
    data, test = DECOY_DIGITS.load("train", seed), DECOY_DIGITS.load("test", seed)
    parameters = estimator_parameters(DECOY_DIGITS) | {"critic": critic or OracleCritic(data.masks)}
    classifier = LVLMVAClassifier(**parameters, random_state=seed).fit(data.images, data.labels)
    return evaluate(classifier.module_, test, classifier.references_).figures()["accuracy"]

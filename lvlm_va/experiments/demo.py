"""The demo: decoy digits, a small vision-language model as the critic, figures before and after."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvlm_va.attribution import DeepLiftShap
from lvlm_va.common.files import write_json
from lvlm_va.critique import TinyCritic
from lvlm_va.datasets import DecoyData
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.evaluation import Evaluation, evaluate
from lvlm_va.experiments.methods import estimator_parameters
from lvlm_va.experiments.tasks import DECOY_DIGITS, DESCRIPTION
from lvlm_va.report import Example, before_after_picture, keep_command
from lvlm_va.segmentation import positive_effect

TITLE = "A digit classifier that read the patch in the corner"
SUMMARY = (
    "In the training images the shade of a small patch in one corner gave the digit away, so the net learned the "
    "patch. The small vision-language model that ships with lvlm_va was told “{description}” It looked at what the "
    "net relied on in {n_align} training images and found {spurious} of {segments} segments spurious. Of one it "
    "said: “{example}” The net was then fine-tuned to ignore the spurious segments. In the test images the patch says "
    "nothing about the digit."
)


def run_demo(
    out: str | os.PathLike[str],
    *,
    seed: int,
    verdicts: str | os.PathLike[str] | None = None,
    echo: Callable[[str], Any],
) -> dict[str, Any]:
    """Run the demo and write ``metrics.json``, ``before_after.png`` and ``report.html``.

    Parameters
    ----------
    out : path-like
        Run directory, made when missing.
    seed : int
        Seed of everything random.
    verdicts : path-like or None, default=None
        JSON file of corrected verdicts to align with.
    echo : callable
        Gets each line of text.

    Returns
    -------
    dict
        What ``metrics.json`` holds: ``before`` and ``after`` with the measures of each, and ``seconds``.
    """
    out = Path(out).expanduser()
    data, test = DECOY_DIGITS.load("train", seed), DECOY_DIGITS.load("test", seed)
    parameters = estimator_parameters(DECOY_DIGITS)
    parameters |= {"segmenter": "regions", "critic": TinyCritic(), "run_dir": out}
    classifier = LVLMVAClassifier(**parameters, random_state=seed).fit(data.images, data.labels)
    if verdicts is not None:
        classifier.realign(verdicts)
    before = evaluate(classifier.unaligned_module_, test, classifier.references_)
    after = evaluate(classifier.module_, test, classifier.references_)
    counts = classifier.verdicts_.counts()
    summary = SUMMARY.format(
        description=DESCRIPTION,
        n_align=len(classifier.alignment_set_),
        spurious=counts["spurious"],
        segments=sum(counts.values()),
        example=next((v.reason for v in classifier.verdicts_.verdicts if v.verdict == "spurious"), "nothing"),
    )
    metrics = {
        "before": before.figures(),
        "after": after.figures(),
        "seconds": classifier.seconds_,
        "seed": seed,
    }
    write_json(out / "metrics.json", metrics)
    picture = out / "before_after.png"
    before_after_picture(_examples(classifier, test, before, after), picture, title=TITLE)
    keep_command(out, ["lvlm-va", "demo", "--seed", str(seed), "--out", str(out)])
    classifier.report(
        out / "report.html",
        test.images,
        test.labels,
        groups=test.groups,
        masks=test.masks,
        title=TITLE,
        intro=summary,
    )
    echo(summary + "\n")
    echo(_table(before, after))
    echo("\nSeconds: " + ", ".join(f"{stage} {value:.2f}" for stage, value in classifier.seconds_.items()))
    echo(f"\nLook at {picture} and {out / 'report.html'}.")
    return metrics


def _table(before: Evaluation, after: Evaluation) -> str:
    lines = [f"{'on test images':<26}{'before':>8}{'after':>8}"]
    new = after.figures()
    lines += [
        f"{name.replace('_', ' '):<26}{value:>8.3f}{new[name]:>8.3f}"
        for name, value in before.figures().items()
    ]
    for when, evaluation in (("before", before), ("after", after)):
        groups = evaluation.measured.groups
        worst = groups.accuracies.argmin()
        low, high = groups.intervals[worst]
        lines.append(
            f"worst group {when}: {groups.worst_group}, {groups.sizes[worst]} images, "
            f"95 % interval {low:.2f} to {high:.2f}"
        )
    return "\n".join(lines)


def _examples(
    classifier: LVLMVAClassifier, test: DecoyData, before: Evaluation, after: Evaluation, n: int = 5
) -> list[Example]:
    """Return test images of different digits, those first that the patch misled most before and not after."""
    labels = torch.from_numpy(test.labels)
    mended = ((before.predictions != labels) & (after.predictions == labels)).nonzero()[:, 0]
    rows = mended if len(mended) else torch.arange(n)
    images, masks = torch.from_numpy(test.images)[rows], torch.from_numpy(test.masks)[rows]
    references = classifier.references_.for_images(images)
    effects = [
        positive_effect(
            DeepLiftShap().attribute(module, images, found.predictions[rows], references).attributions
        )
        for module, found in ((classifier.unaligned_module_, before), (classifier.module_, after))
    ]
    on_decoy = (effects[0] * masks).sum((1, 2)) / effects[0].sum((1, 2)).clamp_min(1e-12)
    order = on_decoy.argsort(descending=True, stable=True).numpy()
    _, first_of_digit = np.unique(test.labels[rows[order]], return_index=True)
    return [
        Example(
            image=images[i].numpy(),
            label=str(int(labels[rows[i]])),
            before=str(int(before.predictions[rows[i]])),
            after=str(int(after.predictions[rows[i]])),
            effect_before=effects[0][i].numpy(),
            effect_after=effects[1][i].numpy(),
        )
        for i in order[np.sort(first_of_digit)[:n]]
    ]

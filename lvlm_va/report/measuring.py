"""Measure a classifier before and after alignment on the same images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm.auto import tqdm

from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import ImageRows
from lvlm_va.data.training_data import TrainingData
from lvlm_va.metrics.alignment import spurious_attribution_shares
from lvlm_va.modules.heads import outcome_probabilities
from lvlm_va.modules.logits import predict_logits
from lvlm_va.report.measures import Measured, Measures
from lvlm_va.rounds.alignment_job import AlignmentJob
from lvlm_va.rounds.types import Aligned

# Of the images with masks, as many are explained as have so many pixels together, and at least so many. For both
# classifiers together that is no more than was critiqued: a report should not take longer than the fit.
PIXELS_EXPLAINED, LEAST_EXPLAINED = 500_000, 8
# Steps of the bar that shows how far each classifier's explanations are.
STEPS = 5


def measure(
    job: AlignmentJob,
    aligned: Aligned,
    images: ImageRows,
    labels: Tensor,
    *,
    groups: ArrayLike | None = None,
    masks: Tensor | ArrayLike | None = None,
    what: str = "test images",
    n_explained: int | None = None,
) -> Measures:
    """Return how right the classifier is on these images before and after alignment, and how right its reasons.

    Parameters
    ----------
    job : AlignmentJob
        Says how the classifier is explained, and which classes there are.
    aligned : Aligned
        The classifier before and after.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images that it was not trained on.
    labels : Tensor of shape (n,) or (n, K), int64
        Their class numbers, or which of K findings they have. Of findings, each image counts once for each: what is
        measured is whether that is told rightly as present or absent.
    groups : array-like of shape (n,), default=None
        Group of each image; None takes the classes, or what is to be told of each finding. Groups count apart for each
        finding.
    masks : array-like of shape (n, H, W), default=None
        True where a pixel is known to be spurious.
    what : str, default="test images"
        Which images these are, in words.
    n_explained : int or None, default=None
        How many of them are explained, drawn at random, where masks are given. None takes as many as have half a
        million pixels together, no more than make as many explanations as there are critiqued cases, and at least
        eight.

    Returns
    -------
    Measures
        Of both.
    """
    names, explainer, n = np.asarray(job.data.class_names), job.options.explainer, len(labels)
    told = replace(job.data, labels=labels)
    cases = torch.arange(told.n_cases)
    outcomes, findings = told.outcomes_of(cases), told.findings_of(cases)
    groups = groups_of_cases(groups, told)
    measured, alignment, rows = [], None, torch.arange(0)
    if masks is not None:
        masks = masks if isinstance(masks, Tensor) else torch.from_numpy(np.array(masks))
        if len(masks) != n:
            raise ValueError(
                f"The 'masks' argument must hold a mask for each of {n} images. Got {len(masks)} instead."
            )
        each = 2 * (len(told.findings) if told.multilabel else 1)  # explanations of an image
        affordable = min(PIXELS_EXPLAINED // math.prod(images.shape[2:]), len(aligned.indices) // each)
        n_drawn = max(LEAST_EXPLAINED, affordable)
        drawn = torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(job.seed, 0)))
        rows = drawn[: n_drawn if n_explained is None else n_explained].sort().values
    bar = tqdm(
        total=2 * len(rows),
        desc="explain test images",
        disable=not (job.options.verbose and len(rows)),
        leave=False,
    )
    with bar:
        for module in (aligned.start.module, aligned.latest.module):
            logits = predict_logits(module, images, batch_size=job.options.training.batch_size)
            said = outcome_probabilities(logits[told.rows_of(cases)], findings).argmax(1)
            if masks is not None:
                shares = []
                for part in rows.split(max(1, math.ceil(len(rows) / STEPS))):
                    own = torch.isin(told.rows_of(cases), part).nonzero()[:, 0]
                    shown = told.rows_of(own)
                    found = explainer.explain(module, images[shown], outcomes[own])
                    shares.append(spurious_attribution_shares(found.attributions.cpu(), masks[shown]))
                    bar.update(len(part))
                known = torch.cat(shares)
                alignment = 1 - float(known[~known.isnan()].mean())
            measured.append(Measured.of(names[outcomes.numpy()], names[said.numpy()], groups, alignment))
    before, after = measured
    return Measures(what, groups is not None, before, after, len(rows) if 0 < len(rows) < n else None)


def groups_of_cases(groups: ArrayLike | None, told: TrainingData) -> ArrayLike | None:
    """Return the group of each case: of several findings, each finding's name and the image's group."""
    if groups is None or not told.multilabel:
        return groups
    given = np.asarray(groups)
    if given.shape != (len(told.labels),):
        raise ValueError(
            f"The 'groups' argument must hold a group for each of {len(told.labels)} images. "
            f"Got shape {given.shape} instead."
        )
    return [f"{finding}: {group}" for group in given.tolist() for finding in told.findings]

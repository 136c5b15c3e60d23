"""What a critic is shown: in the round, and whenever it is asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvlm_va.attribution import Explanation
from lvlm_va.critique import CritiqueRequest, build_requests
from lvlm_va.critique.requests import to_rgb
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Explained
from lvlm_va.runs.shards import SHARD
from lvlm_va.segmentation import Segmentation, pixel_effect


@dataclass(frozen=True, eq=False)
class ShownImages:
    """Images as the critic is shown them, and the expert after it.

    Attributes
    ----------
    indices : Tensor of shape (a,), int64
        Rows of the training data.
    images : Tensor of shape (a, 3, H, W), uint8
        Red, green and blue; see `lvlm_va.critique.requests.to_rgb`.
    """

    indices: Tensor
    images: Tensor


def shown_images(data: TrainingData, indices: Tensor) -> ShownImages:
    """Return the images of these cases of the training data as they are shown."""
    rows = data.rows_of(indices)
    images = torch.empty(len(indices), 3, *data.images.shape[2:], dtype=torch.uint8)
    for part in torch.arange(len(indices)).split(SHARD):
        shown = np.stack([to_rgb(image) for image in data.images[rows[part]].numpy()])
        images[part] = torch.from_numpy(shown).permute(0, 3, 1, 2)
    return ShownImages(rows, images)


def critique_requests(
    data: TrainingData, options: AlignmentOptions, explained: Explained, positions: Sequence[int]
) -> list[CritiqueRequest]:
    """Return what the critic is given of the chosen images at these positions."""
    cases = explained.indices[list(positions)]
    return requests_about(
        explained.images[list(positions)].numpy(),
        explained.explanation,
        explained.segmentation,
        positions,
        indices=data.rows_of(cases).tolist(),
        image_ids=[data.case_id(case) for case in cases.tolist()],
        labels=[data.class_names[outcome] for outcome in data.outcomes_of(cases).tolist()],
        specifications=options.specifications,
    )


def requests_about(
    images: NDArray[Any],
    explanation: Explanation,
    segmentation: Segmentation,
    rows: Sequence[int],
    *,
    indices: Sequence[int],
    image_ids: Sequence[str],
    labels: Sequence[str],
    specifications: Mapping[str, str],
) -> list[CritiqueRequest]:
    """Return what a critic is given of some images that were explained and cut into segments.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        The images.
    explanation, segmentation
        Their attributions and segments, among others'.
    rows : sequence of int of length n
        Which rows of `explanation` and `segmentation` are theirs.
    indices : sequence of int of length n
        Rows of the training data.
    image_ids, labels : sequence of str of length n
        Their names and classes.
    specifications : mapping of str to str
        What the expert says of each class; nothing of a class that it lacks.

    Returns
    -------
    list of CritiqueRequest
        In the order of `rows`.
    """
    chosen = list(rows)
    requests = build_requests(
        images,
        segmentation.labels[chosen].cpu().numpy(),
        pixel_effect(explanation.attributions[chosen], segmentation.effect).cpu().numpy(),
        indices=indices,
        image_ids=image_ids,
        labels=labels,
        descriptions=[specifications.get(label, "") for label in labels],
        effect_kind=segmentation.effect,
    )
    targets = explanation.target[chosen].tolist()
    return [replace(request, target=target) for request, target in zip(requests, targets, strict=True)]

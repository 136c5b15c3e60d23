"""What a classifier is trained on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset

from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.data.findings import SEPARATOR, outcomes_of
from lvlm_va.data.stored_images import ImageRows, StoredImages, reading_ahead

Images = ArrayLike | Tensor | Dataset[Any] | StoredImages


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the classifier is trained on, and the cases that can be explained and critiqued.

    A case is an image; where several findings are told of each, an image and one of them. Cases are numbered, image by
    image: ``row * n_findings + finding``.

    Attributes
    ----------
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images, in the module's dtype.
    labels : Tensor of shape (n,), or (n, K) for K findings, int64
        Class numbers; 1 where a finding is present, else 0.
    class_names : tuple of str
        Names of the classes; of findings, of all outcomes: that the first is absent, present, and so on.
    image_ids : tuple of str
        Names of the images, all different.
    key_of_missing : str or None
        Stands for images that were left out; None where they are here.
    findings : tuple of str
        Names of the findings; none where labels are classes.
    weights : Tensor of shape (n,), float64, or None
        How much each image counts in training, 1 in the mean; None for all alike.
    groups : Tensor of shape (n,), int64, or None
        Whose each image is: images of one group, such as a patient, are held out together. None: each its own.
    """

    images: ImageRows
    labels: Tensor
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    key_of_missing: str | None = None
    findings: tuple[str, ...] = ()
    weights: Tensor | None = None
    groups: Tensor | None = None

    @property
    def multilabel(self) -> bool:
        """Whether several findings are told of each image."""
        return bool(self.findings)

    @property
    def n_cases(self) -> int:
        """How many cases there are."""
        return self.labels.numel()

    def rows_of(self, cases: Tensor) -> Tensor:
        """Return the rows of the images of these cases."""
        return cases // max(1, len(self.findings))

    def findings_of(self, cases: Tensor) -> Tensor | None:
        """Return the numbers of the findings that these cases are about; None for classes."""
        return cases % len(self.findings) if self.findings else None

    def by_finding(self, cases: Tensor) -> list[Tensor]:
        """Return for each finding the positions of the cases about it among these; where labels are classes, of all."""
        about = cases % max(1, len(self.findings))
        return [(about == finding).nonzero().flatten() for finding in range(max(1, len(self.findings)))]

    def outcomes_of(self, cases: Tensor) -> Tensor:
        """Return what the labels say of these cases: numbers of `class_names`, int64."""
        return outcomes_of(self.labels[self.rows_of(cases)], self.findings_of(cases))

    def reading_ahead(self, parts: Iterable[Tensor]) -> AbstractContextManager[None]:
        """Read the images of these cases ahead of their use, part by part, where they are not in memory."""
        return reading_ahead(self.images, map(self.rows_of, parts))

    def case_id(self, case: int) -> str:
        """Return the name of a case: its image's, and its finding's."""
        if not self.findings:
            return self.image_ids[case]
        row, finding = divmod(case, len(self.findings))
        return f"{self.image_ids[row]}{SEPARATOR}{self.findings[finding]}"

    def key(self) -> str:
        """Return a key that stands for the images, their labels and their names."""
        return self.key_of_missing or fingerprint(self.images, self.labels, self.image_ids)

    def without_images(self) -> TrainingData:
        """Return these data as a pickle holds them: the images, which would make it as large as they are, left out."""
        none = torch.empty(0, *self.images.shape[1:], dtype=self.images.dtype)
        return replace(self, images=none, key_of_missing=self.key())

    def require_images(self) -> TrainingData:
        """Return these data; ValueError where the images were left out."""
        if self.key_of_missing is not None:
            raise ValueError(
                "The 'X' and 'y' arguments must be the training data. Got none: copies hold none."
            )
        return self

    def require_same(self, fitted: TrainingData) -> TrainingData:
        """Return these data; ValueError where others were fitted."""
        if self.key() != fitted.key():
            raise ValueError(
                "The 'X', 'y' and 'image_ids' arguments must be those fitted. Got others instead."
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return as JSON values what tells these data from others: a run directory holds a run on one of them."""
        return {
            "data": self.key(),
            "classes": list(self.class_names),
            "image_shape": list(self.images.shape[1:]),
        }

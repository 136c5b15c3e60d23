"""What a classifier is trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset

from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.data.stored_images import ImageRows, StoredImages

Images = ArrayLike | Tensor | Dataset[Any] | StoredImages


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the classifier is trained on.

    Attributes
    ----------
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images, in the module's dtype.
    labels : Tensor of shape (n,), int64
        Class numbers.
    class_names : tuple of str
        Names of the classes.
    image_ids : tuple of str
        Names of the images, all different.
    key_of_missing : str or None
        Stands for images that were left out; None where they are here.
    """

    images: ImageRows
    labels: Tensor
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    key_of_missing: str | None = None

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

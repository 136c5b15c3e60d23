"""What a classifier is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """

    images: ImageRows
    labels: Tensor
    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]

    def key(self) -> str:
        """Return a key that stands for the images, their labels and their names."""
        return fingerprint(self.images, self.labels, self.image_ids)

    def identity(self) -> dict[str, Any]:
        """Return as JSON values what tells these data from others: a run directory holds a run on one of them."""
        return {
            "data": self.key(),
            "classes": list(self.class_names),
            "image_shape": list(self.images.shape[1:]),
        }

"""How a classifier is explained: an attribution method, and what it compares images with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from lvlm_va.attribution.references import ReferenceSet
from lvlm_va.attribution.types import Attributor, Explanation
from lvlm_va.common.errors import numbered
from lvlm_va.data.stored_images import ImageRows, portions, reading_ahead


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains images against references.

    Attributes
    ----------
    attributor : Attributor
        The attribution method.
    references : ReferenceSet
        What images are compared with.
    """

    attributor: Attributor
    references: ReferenceSet

    def explain(self, module: nn.Module, images: Tensor, target: Tensor) -> Explanation:
        """Explain the logit ``target[i]`` of ``images[i]``; arguments as in `Attributor.attribute`."""
        return self.attributor.attribute(module, images, target, self.references.for_images(images))

    def in_portions(
        self, module: nn.Module, images: ImageRows, target: Tensor
    ) -> Iterator[tuple[slice, Explanation]]:
        """Explain any number of images, as many at a time as memory allows.

        Yields
        ------
        slice
            Which images.
        Explanation
            Theirs.
        """
        with reading_ahead(images, portions(images)):
            for rows in portions(images):
                with numbered(range(len(images))[rows]):
                    explanation = self.explain(module, images[rows], target[rows])
                yield rows, explanation

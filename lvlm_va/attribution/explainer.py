"""How a classifier is explained: an attribution method, and what it compares images with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from lvlm_va.attribution.references import ReferenceSet
from lvlm_va.attribution.types import Attributor, Explanation
from lvlm_va.common.errors import numbered
from lvlm_va.common.warnings import warn
from lvlm_va.data.stored_images import ImageRows, portions, reading_ahead
from lvlm_va.modules.heads import Outcomes


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains images against references.

    Attributes
    ----------
    attributor : Attributor
        The attribution method.
    references : ReferenceSet
        What images are compared with.
    sigmoid : bool
        Whether each logit z stands for a finding, or the only one for two classes: targets are then outcomes, of
        `lvlm_va.modules.heads`, and -z or z is explained.
    """

    attributor: Attributor
    references: ReferenceSet
    sigmoid: bool = False

    def explain(self, module: nn.Module, images: Tensor, target: Tensor) -> Explanation:
        """Explain the logit of class, or outcome, ``target[i]`` of ``images[i]``; see `Attributor.attribute`.

        Parameters
        ----------
        module : torch.nn.Module
            The classifier.
        images : Tensor of shape (n, C, H, W)
            What is explained.
        target : Tensor of shape (n,), int64
            Class, or outcome, of each.

        Returns
        -------
        Explanation
            Attributions of all images.

        Warns
        -----
        UserWarning
            If no logit changes between images and references that do: there is nothing to attribute.
        """
        if self.sigmoid:
            module = Outcomes(module)
        references = self.references.for_images(images)
        explanation = self.attributor.attribute(module, images, target, references)
        if not explanation.output_scale.any() and bool((references[0].to(images) != images).any()):
            warn(
                "The module's logits do not depend on the image: between the images and the references they do not "
                "change at all. Nothing can be attributed, cut into segments or mended. Look for activations that "
                "are 0 for every image, weights of 0, and inputs far outside of what the module was made for."
            )
        return explanation

    def in_portions(
        self, module: nn.Module, images: ImageRows, target: Tensor
    ) -> Iterator[tuple[slice, Explanation]]:
        """Explain any number of images, as many at a time as memory allows.

        Parameters
        ----------
        module : torch.nn.Module
            The classifier.
        images : Tensor of shape (n, C, H, W)
            What is explained.
        target : Tensor of shape (n,), int64
            Class, or outcome, of each.

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

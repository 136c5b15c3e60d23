"""Explain cases and cut the explanations where the classifier is: nothing goes to the CPU and back in between."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from torch import Tensor, nn

from lvlm_va.attribution import Explanation
from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.segmentation import Segmentation

Part = TypeVar("Part", Explanation, Segmentation)


@dataclass(frozen=True, eq=False)
class Explaining:
    """Explains and segments training images with one module, on its device.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier.
    data : TrainingData
        The images.
    options : AlignmentOptions
        How they are explained and segmented.
    seed : int
        Of the segmenter.
    """

    module: nn.Module
    data: TrainingData
    options: AlignmentOptions
    seed: int
    # Images and attributions on another device than the CPU, by the cases, until they have been cut.
    _at_hand: dict[tuple[int, ...], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def explain(self, cases: Tensor) -> Explanation:
        """Return the explanation of some cases' labels, some hundred at most, on the CPU."""
        images = self._images(cases)
        found = self.options.explainer.explain(self.module, images, self.data.outcomes_of(cases))
        if images.device.type != "cpu":
            self._at_hand[tuple(cases.tolist())] = images, found.attributions
        return _fetched(found)

    def segment(self, cases: Tensor, attributions: Tensor) -> Segmentation:
        """Return the segments, on the CPU, of attributions that `explain` found for these cases, or an earlier run."""
        at_hand = self._at_hand.pop(tuple(cases.tolist()), None)
        if at_hand is None:
            images = self._images(cases)
            at_hand = images, attributions.to(images.device)
        images, attributions = at_hand
        return _fetched(self.options.segmenter.segment(attributions, images, self.seed))

    def _images(self, cases: Tensor) -> Tensor:
        return self.data.images[self.data.rows_of(cases)].to(module_device_and_dtype(self.module)[0])


def _fetched(part: Part) -> Part:
    """Return the same on the CPU, where it is kept and shown."""
    tensors = {
        one.name: value for one in fields(part) if isinstance(value := getattr(part, one.name), Tensor)
    }
    away: dict[str, Any] = {
        name: value.cpu() for name, value in tensors.items() if value.device.type != "cpu"
    }
    return replace(part, **away) if away else part

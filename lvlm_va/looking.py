"""Look at images as a round of critique does, and say what their segments are like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvlm_va._logits import module_device_and_dtype
from lvlm_va.attribution import Attributor, ReferenceSet
from lvlm_va.image_classifier import TrainingData
from lvlm_va.propagation import SegmentVerdicts, feature_maps, find_feature_layer, segment_features
from lvlm_va.segmentation import Segmentation, Segmenter
from lvlm_va.shards import SHARD


@dataclass(frozen=True, eq=False)
class Looking:
    """How images are explained and segmented."""

    attributor: Attributor
    references: ReferenceSet
    segmenter: Segmenter
    seed: int
    verbose: int


class Look:
    """Looks at training images with one module.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    data : TrainingData
        The images.
    looking : Looking
        How they are explained and segmented.
    """

    def __init__(self, module: nn.Module, data: TrainingData, looking: Looking) -> None:
        self._module, self._data, self._looking = module, data, looking
        self._layer = find_feature_layer(module, self._placed(data.images[:2]))
        self._n_activations = 0
        if self._layer is not None:
            self._n_activations = feature_maps(module, self._layer, self._placed(data.images[:2])).shape[1]

    def at(self, rows: Tensor) -> tuple[Segmentation, Tensor]:
        """Return the segments of these rows, some hundred at most, and those segments' features (n, J, F)."""
        segmentation = self._segment(rows)
        return segmentation, self._features(rows, segmentation)

    def known(self, rows: Tensor, segmentation: Segmentation, codes: Tensor) -> SegmentVerdicts:
        """Return what is there to learn from: segments of these rows, where `codes` (n, J) is 1 or 0 and not NaN."""
        learned = ~codes.isnan()
        return SegmentVerdicts(
            self._features(rows, segmentation)[learned].numpy(),
            self._n_activations,
            rows[:, None].expand(codes.shape)[learned].numpy(),
            (codes == 1)[learned].numpy(),
        )

    def _segment(self, rows: Tensor) -> Segmentation:
        images, how = self._data.images[rows], self._looking
        explanation = how.attributor.attribute(
            self._module, images, self._data.labels[rows], how.references.for_images(images)
        )
        return how.segmenter.segment(explanation.attributions, images, how.seed)

    def _features(self, rows: Tensor, segmentation: Segmentation) -> Tensor:
        """Return the features (n, J, F) of these rows' segments, on the CPU."""
        parts = []
        for chunk in torch.arange(len(rows)).split(SHARD):
            images, labels = self._data.images[rows[chunk]], self._data.labels[rows[chunk]]
            activations = None
            if self._layer is not None:
                activations = feature_maps(self._module, self._layer, self._placed(images)).cpu()
            part = segmentation.select(chunk)
            parts.append(segment_features(images, labels, len(self._data.class_names), part, activations))
        return torch.cat(parts)

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(*module_device_and_dtype(self._module))

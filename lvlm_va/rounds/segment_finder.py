"""Look at images as a round of critique does, and say what their segments are like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvlm_va.attribution import Attributor, ReferenceSet
from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.propagation import SegmentVerdicts, feature_maps, find_feature_layer, segment_features
from lvlm_va.runs.shards import SHARD
from lvlm_va.segmentation import Segmentation, Segmenter


@dataclass(frozen=True, eq=False)
class ExplainOptions:
    """How images are explained and segmented."""

    attributor: Attributor
    references: ReferenceSet
    segmenter: Segmenter
    seed: int
    verbose: int


class SegmentFinder:
    """Looks at training images with one module.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    data : TrainingData
        The images.
    options : ExplainOptions
        How they are explained and segmented.
    """

    def __init__(self, module: nn.Module, data: TrainingData, options: ExplainOptions) -> None:
        self._module, self._data, self._options = module, data, options
        self._layer = find_feature_layer(module, self._placed(data.images[:2]))
        self._n_activations = 0
        if self._layer is not None:
            self._n_activations = feature_maps(module, self._layer, self._placed(data.images[:2])).shape[1]

    def find(self, rows: Tensor) -> tuple[Segmentation, Tensor]:
        """Return the segments of these rows, some hundred at most, and those segments' features (n, J, F)."""
        images, labels, how = self._data.images[rows], self._data.labels[rows], self._options
        references = how.references.for_images(images)
        explanation = how.attributor.attribute(self._module, images, labels, references)
        segmentation = how.segmenter.segment(explanation.attributions, images, how.seed)
        return segmentation, self._features(images, labels, segmentation)

    def known(self, rows: Tensor, segmentation: Segmentation, codes: Tensor) -> SegmentVerdicts:
        """Return what is there to learn from: segments of these rows, where `codes` (n, J) is 1 or 0 and not NaN."""
        learned = ~codes.isnan()
        features = [
            self._features(
                self._data.images[rows[part]], self._data.labels[rows[part]], segmentation.select(part)
            )
            for part in torch.arange(len(rows)).split(SHARD)
        ]
        return SegmentVerdicts(
            torch.cat(features)[learned].numpy(),
            self._n_activations,
            rows[:, None].expand(codes.shape)[learned].numpy(),
            (codes == 1)[learned].numpy(),
        )

    def _features(self, images: Tensor, labels: Tensor, segmentation: Segmentation) -> Tensor:
        """Return the features (n, J, F) of some images' segments, on the CPU."""
        activations = None
        if self._layer is not None:
            activations = feature_maps(self._module, self._layer, self._placed(images)).cpu()
        return segment_features(images, labels, len(self._data.class_names), segmentation, activations)

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(*module_device_and_dtype(self._module))

"""Find segments as a round of critique does, and say what they are like."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from lvlm_va.data.training_data import TrainingData
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.propagation import SegmentVerdicts, feature_maps, find_feature_layer, segment_features
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Round
from lvlm_va.runs.shards import SHARD
from lvlm_va.segmentation import Segmentation


class SegmentFinder:
    """Explains and segments training images with one module.

    Parameters
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

    def __init__(self, module: nn.Module, data: TrainingData, options: AlignmentOptions, seed: int) -> None:
        self._module, self._data, self._options, self._seed = module, data, options, seed
        self._layer = find_feature_layer(module, self._placed(data.images[:2]))

    def find(self, cases: Tensor) -> tuple[Segmentation, Tensor]:
        """Return the segments of these cases, some hundred at most, and those segments' features (n, J, F)."""
        data, how = self._data, self._options
        images, labels = data.images[data.rows_of(cases)], data.outcomes_of(cases)
        explanation = how.explainer.explain(self._module, images, labels)
        segmentation = how.segmenter.segment(explanation.attributions, images, self._seed)
        return segmentation, self._features(images, labels, segmentation)

    def decided(self, found: Round, positions: Tensor) -> SegmentVerdicts:
        """Return what is there to learn from: the segments of some cases that were judged spurious or relevant.

        Parameters
        ----------
        found : Round
            The round.
        positions : Tensor of shape (m,), int64
            Which of its cases, at least one.
        """
        decided, cases = found.codes.decided[positions], found.indices[positions]
        rows, labels = self._data.rows_of(cases), self._data.outcomes_of(cases)
        features = [
            self._features(
                self._data.images[rows[part]], labels[part], found.segmentation.select(positions[part])
            )
            for part in torch.arange(len(cases)).split(SHARD)
        ]
        return SegmentVerdicts(
            torch.cat(features)[decided].numpy(),
            self._n_activations,
            rows[:, None].expand(decided.shape)[decided].numpy(),
            found.codes.spurious[positions][decided].numpy(),
        )

    @cached_property
    def _n_activations(self) -> int:
        if self._layer is None:
            return 0
        return feature_maps(self._module, self._layer, self._placed(self._data.images[:2])).shape[1]

    def _features(self, images: Tensor, labels: Tensor, segmentation: Segmentation) -> Tensor:
        """Return the features (n, J, F) of some images' segments, on the CPU."""
        activations = None
        if self._layer is not None:
            activations = feature_maps(self._module, self._layer, self._placed(images)).cpu()
        return segment_features(images, labels, len(self._data.class_names), segmentation, activations)

    def _placed(self, images: Tensor) -> Tensor:
        return images.to(*module_device_and_dtype(self._module))

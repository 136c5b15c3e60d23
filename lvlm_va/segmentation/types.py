"""What a segmenter returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from lvlm_va.common.effect import Effect


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments of a batch of attribution maps, largest share of the effect first.

    Attributes
    ----------
    labels : Tensor of shape (n, H, W), int64
        0 where a pixel belongs to no segment (no effect), else the number of its segment, from 1.
    n_segments : Tensor of shape (n,), int64
        Number of segments of each image; 0 where the image has no effect.
    shares : Tensor of shape (n, J), float64
        Share of the image's effect in segments 1..J, in [0, 1]; 0 past ``n_segments``.
    means : Tensor of shape (n, J, 2), float64
        Centres (row, column) in [0, 1]; NaN past ``n_segments``.
    covariances : Tensor of shape (n, J, 2, 2), float64
        Covariances in the same coordinates; NaN past ``n_segments``.
    effect : {"positive", "absolute"}
        The effect that was cut into segments; see `lvlm_va.segmentation.pixel_effect`.
    rim : int
        Pixels by which a mask reaches beyond a spurious segment, >= 0; it never reaches into another segment.
    """

    labels: Tensor
    n_segments: Tensor
    shares: Tensor
    means: Tensor
    covariances: Tensor
    effect: Effect = "positive"
    rim: int = 0

    @property
    def outside(self) -> Tensor:
        """Share of each image's effect that is in no segment, shape (n,), float64 in [0, 1]."""
        return (1 - self.shares.sum(1)).clamp_min(0)

    def select(self, rows: Tensor) -> Segmentation:
        """Return the segmentation of some of the images: `rows` of shape (m,), int64."""
        return replace(
            self,
            labels=self.labels[rows],
            n_segments=self.n_segments[rows],
            shares=self.shares[rows],
            means=self.means[rows],
            covariances=self.covariances[rows],
        )


class Segmenter(Protocol):
    """Anything that cuts attribution maps into segments."""

    @property
    def name(self) -> str:
        """Name of the segmenter."""
        ...

    def segment(self, attributions: Tensor, images: Tensor, seed: int) -> Segmentation:
        """Cut each attribution map into segments.

        Parameters
        ----------
        attributions : Tensor of shape (n, C, H, W)
            Attributions of one logit per image.
        images : Tensor of shape (n, C, H, W)
            The images themselves, in [0, 1], for segmenters that look at them.
        seed : int
            Seed of every random start. An image's segments depend on it and on the image alone, never on
            its batch mates.
        """
        ...

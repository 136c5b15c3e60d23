"""Regions of many images, each explained once, as rows of one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lvlm_va.attribution import Explainer
from lvlm_va.data.stored_images import ImageRows, reading_ahead
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.propagation import feature_maps, find_feature_layer, segment_features
from lvlm_va.segmentation import Segmenter, pixel_effect

# Of the features of a segment: where it lies, how large it is, and from here on what it looks like.
_PLACE, _AREA, _LOOKS = slice(0, 2), 6, 8
# Images that are explained at a time.
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class RegionTable:
    """Regions of some images, one row for each.

    Attributes
    ----------
    rows : ndarray of shape (r,), int64
        Which of the images a region lies in, 0..n - 1.
    segments : ndarray of shape (r,), int64
        Its number in that image, from 1.
    targets : ndarray of shape (r,), int64
        The class that was explained: the predicted one.
    shares : ndarray of shape (r,), float64
        Share of the image's effect in it, in [0, 1].
    place : ndarray of shape (r, 2), float32
        Centre (row, column), in [0, 1].
    area : ndarray of shape (r,), float32
        Share of the image that it covers.
    looks : ndarray of shape (r, 3 C + 1), float32
        Per channel mean, difference from the image's mean and standard deviation; texture.
    activations : ndarray of shape (r, D), float32
        Mean of the net's own features under it; D = 0 where the net has no map of features.
    labels : Tensor of shape (n, H, W), uint8
        The regions' numbers.
    effect : Tensor of shape (n, H, W), float16
        Effect of each pixel; that of an image adds up to 1 on average over all images.
    """

    rows: NDArray[np.int64]
    segments: NDArray[np.int64]
    targets: NDArray[np.int64]
    shares: NDArray[np.float64]
    place: NDArray[np.float32]
    area: NDArray[np.float32]
    looks: NDArray[np.float32]
    activations: NDArray[np.float32]
    labels: Tensor
    effect: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def masks(self, regions: NDArray[np.int64]) -> Tensor:
        """Return where these regions are, each in its image: bool of shape (m, H, W)."""
        numbers = torch.from_numpy(self.segments[regions]).to(self.labels.dtype)
        return self.labels[torch.from_numpy(self.rows[regions])] == numbers[:, None, None]


def find_regions(
    net: nn.Module,
    images: ImageRows,
    targets: Tensor,
    explainer: Explainer,
    segmenter: Segmenter,
    *,
    seed: int = 0,
    on_progress: Callable[[int], object] | None = None,
) -> RegionTable:
    """Explain images, cut the explanations into regions, and say what each region is like.

    Images are read and explained in portions; what is kept of each is its regions' features and two small maps.

    Parameters
    ----------
    net : torch.nn.Module
        Takes images in [0, 1], returns logits.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images, n >= 1.
    targets : Tensor of shape (n,), int64
        The class of each that is explained.
    explainer, segmenter
        How.
    seed : int, default=0
        Of the segmenter.
    on_progress : callable, optional
        Gets the number of images done by each portion.

    Returns
    -------
    RegionTable
        In the order of the images.
    """
    placed = module_device_and_dtype(net)
    layer = find_feature_layer(net, images[:2].to(*placed))
    n_channels = images.shape[1]
    parts, labels, effects = [], [], []
    chunks = torch.arange(len(images)).split(_CHUNK)
    with reading_ahead(images, chunks):
        for rows in chunks:
            shown = images[rows]
            explanation = explainer.explain(net, shown, targets[rows])
            found = segmenter.segment(explanation.attributions, shown, seed)
            maps = None if layer is None else feature_maps(net, layer, shown.to(*placed)).to(shown.device)
            # Classes are told by `targets`: here one stands for all.
            features = segment_features(shown, torch.zeros(len(shown), dtype=torch.int64), 1, found, maps)
            image, segment = (~features[..., 0].isnan()).nonzero(as_tuple=True)
            position = torch.stack([image + int(rows[0]), segment + 1])
            parts.append((position, found.shares[image, segment], features[image, segment].T))
            labels.append(found.labels.to("cpu", torch.uint8))
            effects.append(pixel_effect(explanation.attributions, found.effect).to("cpu", torch.float32))
            if on_progress is not None:
                on_progress(len(shown))
    (at, segments), shares, found_features = (
        torch.cat(column, dim=-1).cpu().numpy() for column in zip(*parts, strict=True)
    )
    effect = torch.cat(effects)
    effect /= effect.sum((1, 2), dtype=torch.float64).mean().clamp_min(torch.finfo(torch.float32).tiny)
    looks_end = _LOOKS + 3 * n_channels + 1
    return RegionTable(
        at,
        segments,
        targets.numpy()[at],
        shares,
        found_features[_PLACE].T,
        found_features[_AREA],
        found_features[_LOOKS:looks_end].T,
        found_features[looks_end + 1 :].T,
        torch.cat(labels),
        effect.half(),
    )
